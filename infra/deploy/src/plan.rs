//! What a deployment would do: pure, from what is declared and what was found to steps in the order of their needs.
//!
//! [`declared`] turns a topology into [`Resource`]s, with bodies as Google's REST APIs take them. [`plan`] compares them with a
//! [`State`] and says for each: create, update, replace, delete, or nothing. A field that a body leaves out is not compared, so
//! what the declaration does not mention, and what a server fills in, is never a change.

mod context;
mod declared;
mod difference;
mod names;
mod policy;
mod print;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Value;

use crate::cloud::Api;

pub use context::{ARCHIVES, Archive, Context, source};
pub use declared::declared;
pub(crate) use declared::{BASE_IMAGE, LIVENESS, MESSAGE_PUBLISHED, Probe, SECRET_ACCESSOR, STARTUP, TOKEN_CREATOR};
pub(crate) use difference::narrowed;
pub use difference::{Change, merged};
pub(crate) use names::{Home, canonical};
pub(crate) use policy::{CONDITION, POLICY_VERSION, merged_policy, objects};
pub use policy::{additions_and_removals, bindings, no_access_control, revocation};
pub use state::{SnapshotError, State};

/// The label that says whose a resource is: its value is the deployment's name.
pub const DEPLOYMENT_LABEL: &str = "ai-workloads-deployment";

/// What kind of thing a resource is. The order is that of its needs.
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
    /// The subscription that Eventarc made for a trigger, under the trigger's name: its own is known only afterwards.
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

/// A resource as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Which one.
    pub id: Id,
    /// The fields that are kept as they are declared.
    pub body: Value,
    /// Fields that matter when it is made and never after.
    pub creation: Value,
    /// What has to be there before.
    pub needs: Vec<Id>,
}

/// What happens to a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It is not there.
    Create,
    /// These fields differ.
    Update(Vec<Change>),
    /// A field differs that cannot be changed: it is deleted and made again.
    Replace {
        /// What is lost by it.
        why: String,
        /// What differs.
        changes: Vec<Change>,
    },
    /// It is labelled as this deployment's, and not declared any more.
    Delete,
    /// It is as declared.
    Nothing,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// To what.
    pub id: Id,
    /// What.
    pub action: Action,
    /// The steps of this plan that come before, by their resources.
    pub needs: Vec<Id>,
    /// The resource as it should be; `None` for one to delete.
    pub resource: Option<Resource>,
}

/// Steps in an order in which each comes after those that it needs. Resources without a step are as declared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to do.
    pub steps: Vec<Step>,
    /// How many resources are as declared.
    pub unchanged: usize,
}

impl Kind {
    /// For people.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::ServiceAgent => "service agent",
            Self::ServiceAccount => "service account",
            Self::Secret => "secret",
            Self::Bucket => "bucket",
            Self::Archive => "archive",
            Self::Topic => "topic",
            Self::Service => "service",
            Self::Subscription => "subscription",
            Self::Trigger => "trigger",
            Self::TriggerSubscription => "subscription of trigger",
            Self::Policy(Target::ServiceAccount) => "access to service account",
            Self::Policy(Target::Secret) => "access to secret",
            Self::Policy(Target::Bucket) => "access to bucket",
            Self::Policy(Target::Topic) => "access to topic",
            Self::Policy(Target::Service) => "access to service",
            Self::Policy(Target::Subscription) => "access to subscription",
            Self::Policy(Target::TriggerSubscription) => "access to subscription of trigger",
        }
    }

    /// The API that has to be enabled before such a resource can be looked for.
    pub(crate) fn api(self) -> Api {
        match self {
            Self::Api => Api::ServiceUsage,
            Self::ServiceAccount | Self::Policy(Target::ServiceAccount) => Api::Iam,
            Self::Secret | Self::Policy(Target::Secret) => Api::SecretManager,
            Self::Bucket | Self::Archive | Self::Policy(Target::Bucket) => Api::Storage,
            // The agent is that of Pub/Sub, and of an API that is enabled.
            Self::ServiceAgent
            | Self::Topic
            | Self::Subscription
            | Self::Policy(Target::Topic | Target::Subscription) => Api::PubSub,
            Self::Service | Self::Policy(Target::Service) => Api::Run,
            Self::Trigger | Self::TriggerSubscription | Self::Policy(Target::TriggerSubscription) => Api::Eventarc,
        }
    }

    /// Fields that cannot be changed, each with what a replacement costs.
    fn immutable(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Subscription => &[
                ("filter", "a filter cannot be changed; messages that wait in the subscription are lost"),
                ("topic", "a subscription stays with its topic; messages that wait in it are lost"),
                (
                    "enableMessageOrdering",
                    "ordering cannot be changed; messages that wait in the subscription are lost",
                ),
            ],
            Self::Trigger => &[
                ("transport", "a trigger stays with its topic; messages that wait in its subscription are lost"),
                ("eventFilters", "the event type of a trigger cannot be changed"),
            ],
            _ => &[],
        }
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

impl Plan {
    /// Whether everything is as declared.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Compares what is declared with what was found.
///
/// Google tells of a service agent only where it is named, so one is there if a policy names it, or if none is going to. A secret is
/// only looked for: it is no step.
pub fn plan(declared: &[Resource], found: &State) -> Plan {
    let mut plan = Plan::default();
    let mut remade: Vec<&Id> = Vec::new();
    for resource in declared.iter().filter(|resource| resource.id.kind != Kind::Secret) {
        let action = match found.get(&resource.id).filter(|_| !renewed(resource, &remade)) {
            Some(found) => compare(resource, found),
            None if resource.id.kind == Kind::ServiceAgent && policy::agent_is_there(resource, declared, found) => {
                Action::Nothing
            }
            None if policy::grants_nothing(resource) => Action::Nothing,
            None => Action::Create,
        };
        match action {
            Action::Nothing => {
                plan.unchanged += 1;
                continue;
            }
            Action::Create | Action::Replace { .. } => remade.push(&resource.id),
            Action::Update(_) | Action::Delete => {}
        }
        plan.steps.push(Step { id: resource.id.clone(), action, needs: Vec::new(), resource: Some(resource.clone()) });
    }
    // What is declared is listed in the order of its needs, so a step needs only steps before it.
    let ids: Vec<Id> = plan.steps.iter().map(|step| step.id.clone()).collect();
    for step in &mut plan.steps {
        let needs = step.resource.iter().flat_map(|resource| &resource.needs);
        step.needs = needs.filter(|need| ids.contains(need)).cloned().collect();
    }
    let orphans: Vec<&Id> =
        found.ids().filter(|id| found.is_ours(id) && !declared.iter().any(|resource| resource.id == **id)).collect();
    plan.steps.extend(deletions(orphans, &ids));
    plan
}

/// Steps that delete: what nothing needs first, and all of it after `before`.
pub fn deletions(ids: Vec<&Id>, before: &[Id]) -> Vec<Step> {
    let mut ids = ids;
    ids.sort_by(|a, b| b.kind.cmp(&a.kind).then_with(|| a.name.cmp(&b.name)));
    let step = |id: &&Id| {
        let higher = ids.iter().filter(|other| other.kind > id.kind).map(|other| (*other).clone());
        let needs = before.iter().cloned().chain(higher).collect();
        Step { id: (*id).clone(), action: Action::Delete, needs, resource: None }
    };
    ids.iter().map(step).collect()
}

/// Whether what the resource is part of is made anew, so that what was found of it will be gone.
fn renewed(resource: &Resource, remade: &[&Id]) -> bool {
    let part_of = match resource.id.kind {
        Kind::TriggerSubscription | Kind::Policy(Target::TriggerSubscription) => Kind::Trigger,
        Kind::Policy(target) => target.kind(),
        _ => return false,
    };
    remade.iter().any(|id| id.kind == part_of && id.name == resource.id.name)
}

/// What has to happen to a resource that is there.
pub fn compare(resource: &Resource, found: &Value) -> Action {
    if matches!(resource.id.kind, Kind::Policy(_)) {
        let changes = policy::changes(&resource.body, found);
        return if changes.is_empty() { Action::Nothing } else { Action::Update(changes) };
    }
    let mut changes = match Home::of_resource(&resource.id) {
        Some(home) => difference::changes(&canonical(&resource.body, home), &canonical(found, home)),
        None => difference::changes(&resource.body, found),
    };
    let immutable =
        resource.id.kind.immutable().iter().find(|(field, _)| changes.iter().any(|change| change.top() == *field));
    if let Some((_, why)) = immutable {
        return Action::Replace { why: (*why).to_owned(), changes };
    }
    if resource.id.kind == Kind::Service
        && changes.is_empty()
        && let Some(reason) = difference::failed_revision(found)
    {
        changes.push(Change { path: "template.revision".to_owned(), from: reason.into(), to: "a new one".into() });
    }
    if changes.is_empty() { Action::Nothing } else { Action::Update(changes) }
}
