//! The declaration of everything that is deployed, and of how messages are routed: `topology.toml` as types.
//!
//! [`Topology::parse`] reads, [`Errors`] shows what is wrong, and where. The file that the project ships with,
//! `infra/topology.toml`, explains every section and key. A field that the file leaves out is `None`: it keeps what the platform
//! makes of it.
//!
//! An environment changes the declaration: its `prefix` and `suffix` go around every name, and its sections lay themselves over
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
mod validate;
mod values;
mod variants;

use std::collections::BTreeMap;
use std::time::Duration;

pub use bucket::BucketNameError;
pub use error::{Error, Errors};
pub use values::{Cpu, Destination, Memory, Secret};
pub use values::{PROJECT, human};

use crate::filter::Filter;

/// What the function reads where it finds no declaration: the part that it reads of the `infra/topology.toml` that the project ships
/// with, as [`Topology::runtime_declaration`] gives it. That file itself is not compiled in, so that editing it builds nothing.
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
    /// Whose all of this is: the label of every deployed resource. [`DEFAULT_NAME`] unless declared.
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

/// The bucket that deployed archives go to.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    /// May contain `{project}`, since the names of buckets are unique in the world.
    pub bucket: String,
    /// What `build` makes.
    pub format: ArchiveFormat,
    /// How long Cloud Storage keeps, and bills, deleted objects: 7 to 90 days; `deploy` turns it off unless it is declared.
    pub soft_delete: Option<Duration>,
}

/// The form of an archive.
///
/// Cloud Run's documentation names a gzipped tar for a service that is deployed from source without a build, and every client of
/// Google's sends one (gcloud, firebase-tools, the MCP server, the Terraform provider's tests), also those that send a zip to
/// Cloud Functions. Nothing says that a zip is taken; it is there for whoever needs one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// A gzipped tar.
    #[default]
    TarGz,
    /// A zip file.
    Zip,
}

impl ArchiveFormat {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::TarGz, Self::Zip];

    /// As the declaration writes it, and how the names of such files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::TarGz => "tar.gz",
            Self::Zip => "zip",
        }
    }

    /// <https://www.iana.org/assignments/media-types>
    pub fn media_type(self) -> &'static str {
        match self {
            Self::TarGz => "application/gzip",
            Self::Zip => "application/zip",
        }
    }
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
    /// Whether an instance gets more processor time while it starts; `deploy` asks for it unless told otherwise.
    pub startup_cpu_boost: Option<bool>,
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
        variants::read(text, file, None, &[]).map(|variants| variants.into_topology(None))
    }

    /// Reads a declaration as it is in one of its environments, with the environment's names and values.
    ///
    /// # Errors
    /// As [`Topology::parse`], and when the file declares no such environment.
    pub fn parse_environment(text: &str, file: &str, environment: &str) -> Result<Self, Errors> {
        Self::parse_for(text, file, Some(environment), &[])
    }

    /// Reads a declaration, as it is in `environment` if one is given, for a program that has these tasks: their names may
    /// stand in it whether it declares them or not.
    ///
    /// # Errors
    /// As [`Topology::parse_environment`].
    pub fn parse_for(text: &str, file: &str, environment: Option<&str>, tasks: &[&str]) -> Result<Self, Errors> {
        variants::read(text, file, environment, tasks).map(|variants| variants.into_topology(environment))
    }

    /// The part of a declaration that the function reads, as canonical text that [`Topology::parse`] reads again: for every service
    /// and environment the same [`Service::runtime`]. Whatever else changes in a declaration, this text stays the same, so that an
    /// archive that holds it does, too.
    ///
    /// # Errors
    /// As [`Topology::parse`].
    pub fn runtime_declaration(text: &str, file: &str) -> Result<String, Errors> {
        variants::read(text, file, None, &[]).map(|variants| runtime::render(&variants))
    }

    /// The declaration that the project ships with, `infra/topology.toml` of the workspace that this was built in, as it is now: for
    /// tests and examples. Where there is no workspace, [`DEFAULT`] is compiled in.
    ///
    /// # Errors
    /// Somebody has edited the file and it has mistakes, or it cannot be read.
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
