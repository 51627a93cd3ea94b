//! The types of what is declared. A field that the file leaves out is `None`: it keeps the platform's default.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bucket::PROJECT;
use super::values::{self, Cpu, Destination, Memory, Secret};
use crate::filter::Filter;

/// The name of a deployment that declares none.
pub const DEFAULT_NAME: &str = "ai-workloads";

/// The folder of the archives in the bucket.
pub const ARCHIVES: &str = "archives/";

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

/// The bucket that deployed archives go to.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    /// May contain `{project}`, since the names of buckets are unique in the world.
    pub bucket: String,
    /// What `build` makes.
    pub format: ArchiveFormat,
    /// How long Cloud Storage keeps, and bills, deleted objects: 7 to 90 days; `deploy` turns it off unless it is
    /// declared.
    pub soft_delete: Option<Duration>,
}

/// The form of an archive.
///
/// Cloud Run's documentation names a gzipped tar for a service that is deployed from source without a build, and every
/// client of Google's sends one (gcloud, firebase-tools, the MCP server, the Terraform provider's tests), also those
/// that send a zip to Cloud Functions. No documentation says that a zip is accepted; the format is there for those who
/// need one.
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

    /// As the declaration writes it, and as the names of such files end.
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
    /// How long a message may stay unacknowledged, or a push request unanswered: 10 to 600 seconds, Pub/Sub's default
    /// 10.
    pub ack_deadline: Option<Duration>,
    /// How long unacknowledged messages are kept: 10 minutes to 31 days.
    pub retention: Option<Duration>,
    /// When an unused subscription is deleted.
    pub expiry: Option<Expiry>,
    /// How redelivery backs off.
    pub retry: Option<Retry>,
    /// Where a message goes after too many delivery attempts.
    pub dead_letter: Option<DeadLetter>,
}

/// When an unused subscription is deleted.
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

/// Where a message goes after too many delivery attempts.
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
    /// The tasks that the program brings beside [`TASKS`](super::TASKS): the names, besides those, that `task` and
    /// routes may use.
    pub tasks: Vec<String>,
    /// The labels that `classify` chooses from when a message brings none.
    pub labels: Vec<String>,
    /// Where results go, all of them.
    pub results: Vec<Destination>,
    /// Where its processes share the record of which messages are done.
    pub ledger: Option<Ledger>,
    /// The declared topic for rejected messages.
    pub dead_letter_topic: Option<String>,
    /// Maximum number of services with a limit that a message may already have passed; one more, and this service
    /// rejects it. Counted in the attribute `hop-count`. It ends loops in which services consume each other's results.
    pub hop_limit: Option<u32>,
    /// What it runs as: a declared account, or the email of another.
    pub service_account: Option<String>,
    /// Processors of an instance.
    pub cpu: Option<Cpu>,
    /// Memory of an instance.
    pub memory: Option<Memory>,
    /// Requests that an instance takes at once: 1 to 1000.
    pub concurrency: Option<u32>,
    /// Whether an instance gets more processor time while it starts; `deploy` asks for it unless this is false.
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

/// Where a service records which messages are done, so that a duplicate has no second effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// May contain `{project}`.
    pub bucket: String,
    /// Ends with `/`, or empty.
    pub prefix: String,
    /// How long an entry is kept: whole days, longer than any subscription or topic keeps a message.
    pub retention: Duration,
}

/// An Eventarc trigger on a topic, and the subscription that Eventarc creates for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// A declared topic.
    pub topic: String,
    /// Who invokes the service: a declared account, or the email of another.
    pub service_account: Option<String>,
    /// What is set on the subscription that Eventarc creates.
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

impl Ledger {
    /// The bucket's name in this project.
    pub fn bucket(&self, project: &str) -> String {
        self.bucket.replace(PROJECT, project)
    }

    /// The location as the function's `LEDGER` setting writes it, for this project.
    pub fn setting(&self, project: &str) -> String {
        format!("gs://{}/{}", self.bucket(project), self.prefix)
    }

    /// How long an entry is kept, in days.
    pub fn days(&self) -> u64 {
        self.retention.as_secs() / values::DAY_SECONDS
    }
}

impl Archive {
    /// The bucket's name in this project.
    pub fn bucket(&self, project: &str) -> String {
        self.bucket.replace(PROJECT, project)
    }
}

impl Service {
    /// The task of the first route whose filter matches these attributes.
    pub fn route(&self, attributes: &BTreeMap<String, String>) -> Option<&str> {
        let route = self.routes.iter().find(|route| route.filter.matches(attributes));
        route.map(|route| route.task.as_str())
    }
}
