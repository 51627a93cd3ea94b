//! The declared subscriptions and topics, as far as traces need them.

use std::collections::{BTreeMap, BTreeSet};

use crate::dev::declared::{Consumer, Declared};

#[derive(Default)]
pub(super) struct Routes {
    /// By the full name of the subscription.
    pub(super) by_subscription: BTreeMap<String, Route>,
    /// How many declared subscriptions each topic has, by its full name.
    pub(super) subscriptions_of: BTreeMap<String, usize>,
    /// Topics of results, by full name.
    pub(super) result_topics: BTreeSet<String>,
    /// Topics of dead letters, by full name.
    pub(super) dead_letter_topics: BTreeSet<String>,
}

/// A declared subscription.
pub(super) struct Route {
    pub(super) name: String,
    pub(super) topic: String,
    pub(super) filter: Option<String>,
    pub(super) eventarc: bool,
    pub(super) service: Option<String>,
    pub(super) pulled: bool,
    /// The service's log is read here.
    pub(super) logged: bool,
}

impl Routes {
    pub(super) fn new(declared: &Declared, logged: impl Fn(&str) -> bool) -> Self {
        let mut routes = Self::default();
        for subscription in &declared.subscriptions {
            let service = match &subscription.consumer {
                Consumer::Service(service) => Some(service.clone()),
                Consumer::Pull | Consumer::Endpoint(_) => None,
            };
            let route = Route {
                name: short(subscription.name()),
                topic: short(&subscription.topic),
                filter: subscription.filter.clone(),
                eventarc: subscription.eventarc,
                logged: service.as_deref().is_some_and(&logged),
                pulled: subscription.consumer == Consumer::Pull,
                service,
            };
            routes.by_subscription.insert(subscription.name().to_owned(), route);
            *routes.subscriptions_of.entry(subscription.topic.clone()).or_default() += 1;
        }
        routes.result_topics = declared.results.iter().cloned().collect();
        routes.dead_letter_topics = declared.dead_letters.iter().cloned().collect();
        routes
    }
}

/// The last part of a resource's name.
pub(super) fn short(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).to_owned()
}
