//! What is asked of a declaration: single resources, how messages reach a service, which objects expire.

use std::collections::BTreeMap;

use super::types::{ArchiveFormat, Delivery, Ledger, PushTarget, Service, Subscription, Topic, Topology, Trigger};
use crate::filter::Filter;

/// A trigger or push subscription through which messages reach a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feed<'t> {
    /// The topic that they come from.
    pub topic: &'t str,
    /// The push subscription; `None` is the service's Eventarc trigger.
    pub subscription: Option<&'t Subscription>,
    /// Which of the topic's messages come.
    pub filter: Option<&'t Filter>,
    /// Deadlines, retries, dead letters.
    pub delivery: &'t Delivery,
}

impl Topology {
    /// What `build` makes.
    pub fn archive_format(&self) -> ArchiveFormat {
        self.archive.as_ref().map(|archive| archive.format).unwrap_or_default()
    }

    /// The service that a process is unless another is named.
    pub fn first_service(&self) -> Option<&Service> {
        self.services.first()
    }

    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// The subscription of this name.
    pub fn subscription(&self, name: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.name == name)
    }

    /// Prefixes of the archive's bucket whose objects are deleted with age, and after how many days: the ledgers in it.
    pub fn expiries(&self) -> BTreeMap<&str, u64> {
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        let own = |ledger: &&Ledger| self.archive.as_ref().is_some_and(|archive| archive.bucket == ledger.bucket);
        for ledger in self.services.iter().filter_map(|service| service.ledger.as_ref()).filter(own) {
            let days = all.entry(&ledger.prefix).or_default();
            *days = ledger.days().max(*days);
        }
        all
    }

    /// Whether a service reads a secret.
    pub fn declares_secrets(&self) -> bool {
        self.services.iter().any(|service| !service.secrets.is_empty())
    }

    /// How messages reach this service: its trigger, then the push subscriptions in the order of the file.
    pub fn feeds(&self, service: &str) -> Vec<Feed<'_>> {
        let trigger = self.service(service).and_then(|service| service.trigger.as_ref());
        let trigger =
            trigger.map(|Trigger { topic, delivery, .. }| Feed { topic, subscription: None, filter: None, delivery });
        let pushes = self.subscriptions.iter().filter(|subscription| {
            let target = subscription.push.as_ref().map(|push| &push.target);
            matches!(target, Some(PushTarget::Service(name)) if name == service)
        });
        let pushes = pushes.map(|subscription| Feed {
            topic: &subscription.topic,
            subscription: Some(subscription),
            filter: subscription.filter.as_ref(),
            delivery: &subscription.delivery,
        });
        trigger.into_iter().chain(pushes).collect()
    }
}
