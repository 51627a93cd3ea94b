//! The declaration of everything that is deployed, and of how messages are routed: `topology.toml` as types.
//!
//! [`Topology::parse`] reads, [`Errors`] shows what is wrong, and where. The file that the project ships with,
//! [`SHIPPED`], explains every section and key. A field that the file leaves out is `None`: it keeps what the platform makes of it.
//!
//! An environment changes the declaration: its `prefix` and `suffix` go around every name, and its sections lay themselves over
//! those of the same name, key by key. [`Topology::parse`] checks every environment too.

mod error;
#[cfg(test)]
mod fuzzed;
mod overlay;
mod read;
mod sections;
mod service;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeTable;

pub use error::{Error, Errors};
pub use values::{Cpu, Destination, Memory, Secret};
pub use values::{PROJECT, human};

use crate::filter::Filter;
use crate::text::without_bom;
use error::Log;
use overlay::Names;

/// The declaration that the project ships with, `infra/topology.toml`.
pub const SHIPPED: &str = include_str!("../topology.toml");

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
    /// Whose all of this is: the label of every deployed resource. [`DEFAULT_NAME`] unless declared.
    pub name: String,
    /// Which environment this is; `None` is the declaration as it stands.
    pub environment: Option<String>,
    /// The environments that the file declares.
    pub environments: Vec<String>,
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

/// The bucket that deployed archives go to.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    /// May contain `{project}`, since the names of buckets are unique in the world.
    pub bucket: String,
}

/// A Pub/Sub topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Without project.
    pub name: String,
    /// Resource labels.
    pub labels: BTreeMap<String, String>,
    /// How long the topic itself keeps messages, for replay: 10 minutes to 31 days.
    pub retention: Option<Duration>,
}

/// A Pub/Sub subscription: pull, or push where [`push`](Self::push) is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Without project.
    pub name: String,
    /// A declared topic.
    pub topic: String,
    /// Which messages it delivers; all without one. Immutable once deployed.
    pub filter: Option<Filter>,
    /// Deadlines, retries, dead letters.
    pub delivery: Delivery,
    /// Whether acknowledged messages are retained too, for replay.
    pub retain_acked: Option<bool>,
    /// Whether messages with one ordering key arrive in order.
    pub ordering: Option<bool>,
    /// Whether a message that was acknowledged is never delivered again; pull only.
    pub exactly_once: Option<bool>,
    /// Resource labels.
    pub labels: BTreeMap<String, String>,
    /// Where messages are pushed to.
    pub push: Option<Push>,
}

/// How a subscription delivers; a service's Eventarc trigger has one of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// How long a message may stay unacknowledged, or a push request unanswered: 10 to 600 seconds, Pub/Sub's default 10.
    pub ack_deadline: Option<Duration>,
    /// How long unacknowledged messages are kept: 10 minutes to 31 days.
    pub retention: Option<Duration>,
    /// When a subscription that nobody uses is deleted.
    pub expiry: Option<Expiry>,
    /// How redelivery backs off.
    pub retry: Option<Retry>,
    /// Where a message goes that was delivered too often.
    pub dead_letter: Option<DeadLetter>,
}

/// When a subscription that nobody uses is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// After so long without use, at least a day.
    After(Duration),
}

/// Exponential backoff of redelivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// 0 to 600 seconds, by default 10.
    pub min_backoff: Duration,
    /// 0 to 600 seconds, by default 600.
    pub max_backoff: Duration,
}

/// Where a message goes that was delivered too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// A declared topic.
    pub topic: String,
    /// 5 to 100 deliveries, by default 5.
    pub max_attempts: u32,
}

/// Where a push subscription delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The receiver.
    pub target: PushTarget,
    /// Whether the data alone is the body, without the JSON wrapper.
    pub no_wrapper: Option<bool>,
    /// With `no_wrapper`, whether attributes and the message's id become headers. By default so.
    pub write_metadata: Option<bool>,
    /// Whose identity token goes along: a declared account, or the email of another.
    pub service_account: Option<String>,
    /// The token's audience; the endpoint without one.
    pub audience: Option<String>,
}

/// The receiver of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushTarget {
    /// A declared service.
    Service(String),
    /// An address outside of the topology.
    Endpoint(String),
}

/// A Cloud Run service that runs the function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Without project and region.
    pub name: String,
    /// The topic whose messages Eventarc delivers. Filtered delivery is a push subscription instead.
    pub trigger: Option<Trigger>,
    /// Ordered: the first whose filter matches takes the message.
    pub routes: Vec<Route>,
    /// The task of a message that no route takes and whose `task` attribute names none.
    pub task: Option<String>,
    /// The tasks that the program brings beside [`TASKS`]: the names, besides those, that `task` and routes may use.
    pub tasks: Vec<String>,
    /// The labels that `classify` chooses from when a message brings none.
    pub labels: Vec<String>,
    /// Where results go, all of them.
    pub results: Vec<Destination>,
    /// Where its processes share which messages are done.
    pub ledger: Option<Ledger>,
    /// The declared topic for rejected messages.
    pub dead_letter_topic: Option<String>,
    /// How often a message, as the result of a result, may have passed services with a limit before this one rejects it; what makes
    /// a round of services end. Counted in the attribute `hop-count`.
    pub hop_limit: Option<u32>,
    /// What it runs as: a declared account, or the email of another.
    pub service_account: Option<String>,
    /// Processors of an instance.
    pub cpu: Option<Cpu>,
    /// Memory of an instance.
    pub memory: Option<Memory>,
    /// Requests that an instance takes at once: 1 to 1000.
    pub concurrency: Option<u32>,
    /// How long a request may take: 1 second to 1 hour, Cloud Run's default 5 minutes.
    pub timeout: Option<Duration>,
    /// Instances that are kept running.
    pub min_instances: Option<u32>,
    /// Instances that may run.
    pub max_instances: Option<u32>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Environment variables whose values are secrets.
    pub secrets: BTreeMap<String, Secret>,
    /// Resource labels of the service.
    pub resource_labels: BTreeMap<String, String>,
}

/// Where a service notes which messages are done, so that repeats have no second effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// May contain `{project}`.
    pub bucket: String,
    /// Ends with `/`, or empty.
    pub prefix: String,
    /// How long an entry is kept: whole days, longer than any subscription or topic keeps a message.
    pub retention: Duration,
}

/// An Eventarc trigger on a topic, and the subscription that Eventarc makes for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// A declared topic.
    pub topic: String,
    /// Who invokes the service: a declared account, or the email of another.
    pub service_account: Option<String>,
    /// Laid over the subscription that Eventarc makes.
    pub delivery: Delivery,
}

/// Which task takes which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Matched against a message's attributes.
    pub filter: Filter,
    /// `[a-z][a-z0-9-]*`.
    pub task: String,
}

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The part of the email before `@`.
    pub name: String,
    /// For people.
    pub display_name: Option<String>,
}

/// One way by which messages reach a service.
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
    /// Everything that is wrong with it, each with line and column: TOML syntax, unknown keys, names and values that Google
    /// refuses, references that lead nowhere, and mistakes that lose messages. Environments are checked as well.
    pub fn parse(text: &str, file: &str) -> Result<Self, Errors> {
        Self::load(text, file, None, &[])
    }

    /// Reads a declaration as it is in one of its environments, with the environment's names and values.
    ///
    /// # Errors
    /// As [`Topology::parse`], and when the file declares no such environment.
    pub fn parse_environment(text: &str, file: &str, environment: &str) -> Result<Self, Errors> {
        Self::load(text, file, Some(environment), &[])
    }

    /// Reads a declaration, as it is in `environment` if one is given, for a program that has these tasks: their names may
    /// stand in it whether it declares them or not.
    ///
    /// # Errors
    /// As [`Topology::parse_environment`].
    pub fn parse_for(text: &str, file: &str, environment: Option<&str>, tasks: &[&str]) -> Result<Self, Errors> {
        Self::load(text, file, environment, tasks)
    }

    /// The declaration that the project ships with, compiled in.
    ///
    /// # Errors
    /// None while the tests of this module pass; the type spares callers a panic.
    pub fn shipped() -> Result<Self, Errors> {
        Self::parse(SHIPPED, "infra/topology.toml")
    }

    fn load(text: &str, file: &str, wanted: Option<&str>, program: &[&str]) -> Result<Self, Errors> {
        let text = without_bom(text);
        if text.len() > MAX_BYTES {
            let label = format!("{} bytes, at most {MAX_BYTES} are read", text.len());
            return Err(Errors::one(file, "the topology is too long".to_owned(), label, None));
        }
        let mut log = Log::default();
        let (root, syntax) = DeTable::parse_recoverable(text);
        for error in syntax {
            log.add(error.span().unwrap_or_default(), "not valid TOML", error.message(), None);
        }
        if !log.is_empty() {
            return Err(log.into_errors(text, file));
        }
        let names = Names::default();
        let mut found = sections::read(root.get_ref(), text, &names, program, &mut log);
        let environments = overlay::environments(root.get_ref(), text, &mut log);
        for environment in &environments {
            let names = &environment.names;
            let mut changed = sections::read(&environment.table, text, names, program, &mut log);
            if wanted == Some(&names.environment) {
                names.apply(&mut changed);
                found = changed;
            }
        }
        found.environments = environments.iter().map(|e| e.names.environment.clone()).collect();
        if let Some(wanted) = wanted.filter(|_| found.environment.as_deref() != wanted) {
            let declared = found.environments.iter().map(String::as_str);
            let help = error::suggest(wanted, "environments", declared);
            let message = format!("there is no environment `{wanted}`");
            let (at, _) = read::locate(root.get_ref(), &["environments"]);
            log.add(at, message, "not declared in this file", help);
        }
        if log.is_empty() { Ok(found) } else { Err(log.into_errors(text, file)) }
    }

    /// The service that a process is when nobody says which.
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

impl Ledger {
    /// The bucket's name in this project.
    pub fn bucket(&self, project: &str) -> String {
        self.bucket.replace(values::PROJECT, project)
    }

    /// The place as the function's `LEDGER` setting writes it, for this project.
    pub fn setting(&self, project: &str) -> String {
        format!("gs://{}/{}", self.bucket(project), self.prefix)
    }

    /// How long an entry is kept, in days.
    pub fn days(&self) -> u64 {
        self.retention.as_secs() / values::DAY
    }
}

impl Archive {
    /// The bucket's name in this project.
    pub fn bucket(&self, project: &str) -> String {
        self.bucket.replace(values::PROJECT, project)
    }
}

impl Service {
    /// The task of the first route whose filter matches these attributes.
    pub fn route(&self, attributes: &BTreeMap<String, String>) -> Option<&str> {
        let route = self.routes.iter().find(|route| route.filter.matches(attributes));
        route.map(|route| route.task.as_str())
    }
}
