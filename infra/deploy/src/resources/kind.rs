//! What resources there are: APIs, kinds, and the names of single resources.

/// A Google API that a deployment calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// Cloud Run Admin API v2.
    Run,
    /// Eventarc v1.
    Eventarc,
    /// Pub/Sub v1.
    PubSub,
    /// Cloud Storage, JSON API v1.
    Storage,
    /// IAM v1: service accounts.
    Iam,
    /// Resource Manager v3: the project.
    ResourceManager,
    /// Service Usage v1: which APIs are enabled; v1beta1: service agents.
    ServiceUsage,
    /// Secret Manager v1: needed only where a topology declares secrets.
    SecretManager,
}

/// What kind of thing a resource is. A kind comes after the kinds that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Google API of the project; its name is `run.googleapis.com` for example.
    Api,
    /// `projects/P/services/pubsub.googleapis.com`: the account as which a Google service acts in the project.
    ServiceAgent,
    /// `projects/P/serviceAccounts/EMAIL`
    ServiceAccount,
    /// `projects/P/secrets/S`, which a deployment grants and never creates.
    Secret,
    /// A bucket's name.
    Bucket,
    /// `BUCKET/OBJECT`: what is deployed.
    Archive,
    /// `projects/P/topics/T`
    Topic,
    /// `projects/P/locations/R/services/S` of Cloud Run.
    Service,
    /// `projects/P/subscriptions/S`
    Subscription,
    /// `projects/P/locations/R/triggers/T` of Eventarc.
    Trigger,
    /// The subscription that Eventarc created for a trigger, under the trigger's name: its own name is known only
    /// afterwards.
    TriggerSubscription,
    /// The IAM policy of a resource, under that resource's name.
    Policy(Target),
}

/// What an IAM policy belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A service account: who may act as it.
    ServiceAccount,
    /// A secret.
    Secret,
    /// A bucket.
    Bucket,
    /// A topic.
    Topic,
    /// A Cloud Run service.
    Service,
    /// A subscription.
    Subscription,
    /// The subscription of an Eventarc trigger.
    TriggerSubscription,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// What it is.
    pub kind: Kind,
    /// Its full name, unique within the kind.
    pub name: String,
}

impl Api {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Run,
        Self::Eventarc,
        Self::PubSub,
        Self::Storage,
        Self::Iam,
        Self::ResourceManager,
        Self::ServiceUsage,
        Self::SecretManager,
    ];

    /// Those that every deployment calls.
    pub fn always() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|api| *api != Self::SecretManager)
    }

    /// The name under which Service Usage enables it, `run.googleapis.com` for example.
    pub fn service(self) -> &'static str {
        match self {
            Self::Run => "run.googleapis.com",
            Self::Eventarc => "eventarc.googleapis.com",
            Self::PubSub => "pubsub.googleapis.com",
            Self::Storage => "storage.googleapis.com",
            Self::Iam => "iam.googleapis.com",
            Self::ResourceManager => "cloudresourcemanager.googleapis.com",
            Self::ServiceUsage => "serviceusage.googleapis.com",
            Self::SecretManager => "secretmanager.googleapis.com",
        }
    }
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 18] = [
        Self::Api,
        Self::ServiceAgent,
        Self::ServiceAccount,
        Self::Secret,
        Self::Bucket,
        Self::Archive,
        Self::Topic,
        Self::Service,
        Self::Subscription,
        Self::Trigger,
        Self::TriggerSubscription,
        Self::Policy(Target::ServiceAccount),
        Self::Policy(Target::Secret),
        Self::Policy(Target::Bucket),
        Self::Policy(Target::Topic),
        Self::Policy(Target::Service),
        Self::Policy(Target::Subscription),
        Self::Policy(Target::TriggerSubscription),
    ];
}

impl Target {
    /// The kind of the resource that the policy belongs to.
    pub fn kind(self) -> Kind {
        match self {
            Self::ServiceAccount => Kind::ServiceAccount,
            Self::Secret => Kind::Secret,
            Self::Bucket => Kind::Bucket,
            Self::Topic => Kind::Topic,
            Self::Service => Kind::Service,
            Self::Subscription => Kind::Subscription,
            Self::TriggerSubscription => Kind::TriggerSubscription,
        }
    }
}

impl Id {
    /// A resource by kind and full name.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// The name without project and region.
    pub fn short(&self) -> &str {
        match self.kind {
            Kind::Bucket | Kind::Policy(Target::Bucket) | Kind::Archive | Kind::Api => &self.name,
            _ => self.name.rsplit('/').next().unwrap_or(&self.name),
        }
    }
}
