//! The declaration of everything that is deployed, and of how messages are routed: `topology.toml` as types.
//!
//! [`Topology::parse`] reads, [`Errors`] shows what is wrong, and where. The file that the project ships with,
//! `infra/topology.toml`, explains every section and key. A field that the file leaves out is `None`: it keeps the
//! platform's default.
//!
//! An environment changes the declaration: its `prefix` and `suffix` are added to every name, and its sections replace
//! those of the same name, key by key. [`Topology::parse`] checks every environment too.

mod bucket;
mod error;
#[cfg(test)]
mod fuzzed;
mod overlay;
mod read;
mod runtime;
mod sections;
mod service;
#[cfg(test)]
mod tests;
mod types;
mod validate;
mod values;
mod variants;

use std::collections::BTreeMap;

pub use bucket::BucketNameError;
pub use error::{Error, Errors};
pub use types::{
    Archive, ArchiveFormat, DeadLetter, Delivery, Expiry, Ledger, Push, PushTarget, Retry, Route, Service,
    ServiceAccount, Subscription, Topic, Trigger,
};
pub use values::{Cpu, Destination, Memory, Secret};
pub use values::{PROJECT, human};

use crate::filter::Filter;

/// What the function reads where it finds no declaration: the part that it reads of the `infra/topology.toml` that the
/// project ships with, as [`Topology::runtime_declaration`] gives it. That file itself is not compiled in, so that
/// an edit of it recompiles nothing.
pub const DEFAULT: &str = include_str!("topology/default.toml");

/// The name of a deployment that declares none.
pub const DEFAULT_NAME: &str = "ai-workloads";

/// The tasks that the project comes with.
pub const TASKS: [&str; 3] = ["embed", "classify", "rerank"];

/// The folder of the archives in the bucket.
pub const ARCHIVES: &str = "archives/";

/// The longest declaration that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Everything declared. Names are unique within their kind, and every reference leads somewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// The name of the deployment: the label of every deployed resource. [`DEFAULT_NAME`] unless declared.
    pub name: String,
    /// Which environment this is; `None` is the declaration as it stands.
    pub environment: Option<String>,
    /// The environments that the file declares.
    pub environments: Vec<String>,
    /// Whether this is a [runtime declaration](Topology::runtime_declaration), which nothing can be deployed from.
    pub runtime: bool,
    /// The bucket that deployed archives go to.
    pub archive: Option<Archive>,
    /// In the order of the file, as all that follow.
    pub topics: Vec<Topic>,
    /// Pull and push subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Cloud Run services.
    pub services: Vec<Service>,
    /// The accounts that services, triggers and pushes run as.
    pub service_accounts: Vec<ServiceAccount>,
}

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
    /// Reads a declaration. `file` is its name in errors.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with line and column: TOML syntax, unknown keys, names and values that
    /// Google refuses, references that lead nowhere, and mistakes that lose messages. Environments are checked as well.
    pub fn parse(text: &str, file: &str) -> Result<Self, Errors> {
        variants::read(text, file, None, &[]).map(|variants| variants.into_topology(None))
    }

    /// Reads a declaration as it is in one of its environments, with the environment's names and values.
    ///
    /// # Errors
    /// As [`Topology::parse`], and when the file declares no such environment.
    pub fn parse_environment(text: &str, file: &str, environment: &str) -> Result<Self, Errors> {
        Self::parse_for(text, file, Some(environment), &[])
    }

    /// Reads a declaration, as it is in `environment` if one is given, for a program that has these tasks: their names
    /// may be used in it whether it declares them or not.
    ///
    /// # Errors
    /// As [`Topology::parse_environment`].
    pub fn parse_for(text: &str, file: &str, environment: Option<&str>, tasks: &[&str]) -> Result<Self, Errors> {
        variants::read(text, file, environment, tasks).map(|variants| variants.into_topology(environment))
    }

    /// The part of a declaration that the function reads, as canonical text that [`Topology::parse`] reads again: for
    /// every service and environment the same [`Service::runtime`]. Whatever else changes in a declaration, this text
    /// stays the same, so that an archive that holds it does, too.
    ///
    /// # Errors
    /// As [`Topology::parse`].
    pub fn runtime_declaration(text: &str, file: &str) -> Result<String, Errors> {
        variants::read(text, file, None, &[]).map(|variants| runtime::render(&variants))
    }

    /// The declaration that the project ships with, `infra/topology.toml` of the workspace that this was built in, as
    /// it is now: for tests and examples. Where there is no workspace, [`DEFAULT`] is compiled in.
    ///
    /// # Errors
    /// The file was edited and has mistakes, or it cannot be read.
    pub fn shipped() -> Result<Self, Errors> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/topology.toml");
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, "infra/topology.toml"),
            Err(error) => {
                Err(Errors::one("infra/topology.toml", format!("cannot read {path}"), error.to_string(), None))
            }
        }
    }

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
