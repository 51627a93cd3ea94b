//! The kinds of resources, and the table of what each is.

use std::fmt;

use serde_json::Value;

use super::export::Export;
use super::{
    Api, api, archive, bucket, policy, secret, service, service_account, service_agent, subscription, topic, trigger,
};

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

/// What deploying has to know of a kind of resource beside its bodies.
pub(crate) struct Spec {
    /// What people call it.
    pub(crate) noun: &'static str,
    /// What JSON calls it: the output of `plan --json`, snapshots.
    pub(crate) code: &'static str,
    /// The API that has to be enabled before such a resource can be read.
    pub(crate) api: Api,
    /// How a resource shows which deployment created it.
    pub(crate) mark: Mark,
    /// Fields that cannot be changed, each with what a replacement costs.
    pub(crate) immutable: &'static [(&'static str, &'static str)],
    /// What `deploy` and `destroy` do with such a resource.
    pub(crate) permissions: &'static [Permission],
    /// What matters of a body, in one line of a plan; empty if the name says all.
    pub(crate) summary: fn(&Value) -> String,
    /// How Terraform writes it.
    pub(crate) export: Export,
}

/// How a resource shows which deployment created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// By the label [`DEPLOYMENT_LABEL`](super::DEPLOYMENT_LABEL).
    Label,
    /// By its description, since such resources have no labels.
    Description,
    /// Not at all: it belongs to another resource, or is not created here.
    None,
}

/// A permission of IAM, and the predefined role to ask for where it is missing:
/// <https://cloud.google.com/iam/docs/roles-permissions>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// `pubsub.topics.create` for example.
    pub name: &'static str,
    /// `roles/pubsub.admin` for example.
    pub role: &'static str,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// What it is.
    pub kind: Kind,
    /// Its full name, unique within the kind.
    pub name: String,
}

impl Spec {
    /// A kind that has nothing but its names and its API.
    pub(super) const fn new(noun: &'static str, code: &'static str, api: Api) -> Self {
        Self {
            noun,
            code,
            api,
            mark: Mark::None,
            immutable: &[],
            permissions: &[],
            summary: |_| String::new(),
            export: Export::None,
        }
    }
}

impl Permission {
    pub(super) const fn new(name: &'static str, role: &'static str) -> Self {
        Self { name, role }
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

    /// The row of this kind.
    pub(crate) fn spec(self) -> &'static Spec {
        match self {
            Self::Api => &api::SPEC,
            Self::ServiceAgent => &service_agent::SPEC,
            Self::ServiceAccount => &service_account::SPEC,
            Self::Secret => &secret::SPEC,
            Self::Bucket => &bucket::SPEC,
            Self::Archive => &archive::SPEC,
            Self::Topic => &topic::SPEC,
            Self::Service => &service::SPEC,
            Self::Subscription => &subscription::SPEC,
            Self::Trigger => &trigger::SPEC,
            Self::TriggerSubscription => &trigger::SUBSCRIPTION_SPEC,
            Self::Policy(target) => match target {
                Target::ServiceAccount => &policy::SERVICE_ACCOUNT,
                Target::Secret => &policy::SECRET,
                Target::Bucket => &policy::BUCKET,
                Target::Topic => &policy::TOPIC,
                Target::Service => &policy::SERVICE,
                Target::Subscription => &policy::SUBSCRIPTION,
                Target::TriggerSubscription => &policy::TRIGGER_SUBSCRIPTION,
            },
        }
    }

    /// What people call it.
    pub fn noun(self) -> &'static str {
        self.spec().noun
    }

    /// The API that has to be enabled before such a resource can be read.
    pub fn api(self) -> Api {
        self.spec().api
    }
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

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.noun(), self.short())
    }
}
