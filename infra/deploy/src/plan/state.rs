//! What was found.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Archive, Context, DEPLOYMENT_LABEL, Home, Id, Kind, Target, canonical};

/// The resources that were found, each as its API shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    deployment: String,
    resources: BTreeMap<Id, Value>,
}

/// A snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("not a snapshot of what is deployed: {0}; make one with `cargo xtask plan --write-snapshot FILE`")]
pub struct SnapshotError(String);

impl State {
    /// Nothing was found. `deployment` is the name that labels carry.
    pub fn new(deployment: &str) -> Self {
        Self { deployment: deployment.to_owned(), resources: BTreeMap::new() }
    }

    /// Adds a resource.
    pub fn insert(&mut self, id: Id, found: Value) {
        self.resources.insert(id, found);
    }

    /// A resource as it was found.
    pub fn get(&self, id: &Id) -> Option<&Value> {
        self.resources.get(id)
    }

    /// All that was found.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.resources.keys()
    }

    /// Whether a resource says of itself that this deployment made it: by its label, or, since they have none, by the description
    /// of a service account.
    pub fn is_ours(&self, id: &Id) -> bool {
        let Some(found) = self.get(id) else { return false };
        match id.kind {
            Kind::ServiceAccount => found["description"].as_str() == Some(&description(&self.deployment)),
            Kind::Bucket | Kind::Topic | Kind::Service | Kind::Subscription | Kind::Trigger => {
                found["labels"][DEPLOYMENT_LABEL].as_str() == Some(&self.deployment)
            }
            Kind::Api
            | Kind::ServiceAgent
            | Kind::Secret
            | Kind::Archive
            | Kind::TriggerSubscription
            | Kind::Policy(_) => false,
        }
    }

    /// The state as JSON, to be compared with later without an account.
    pub fn to_snapshot(&self, context: &Context) -> Value {
        let resources =
            self.resources.iter().map(|(id, found)| json!({"kind": code(id.kind), "name": id.name, "found": found}));
        json!({
            "deployment": self.deployment,
            "project": context.project,
            "number": context.number,
            "region": context.region,
            "archive": context.archive.as_ref().map(Archive::file_name),
            "resources": resources.collect::<Vec<_>>(),
        })
    }

    /// Reads what [`State::to_snapshot`] wrote: what was found, and where.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_snapshot(text: &str) -> Result<(Self, Context), SnapshotError> {
        let wrong = |why: &str| SnapshotError(why.to_owned());
        let snapshot: Value = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        let text = |key: &str| {
            let text = snapshot[key].as_str().map(str::to_owned);
            text.ok_or_else(|| wrong(&format!("it names no `{key}`")))
        };
        let archive = snapshot["archive"].as_str().and_then(Archive::named);
        let context = Context { project: text("project")?, number: text("number")?, region: text("region")?, archive };
        let mut state = Self::new(&text("deployment")?);
        let resources = snapshot["resources"].as_array().ok_or_else(|| wrong("it lists no `resources`"))?;
        for resource in resources {
            let kind = resource["kind"].as_str().and_then(|text| KINDS.iter().find(|kind| code(**kind) == text));
            let (Some(kind), Some(name)) = (kind, resource["name"].as_str()) else {
                return Err(wrong("a resource has no known `kind` or no `name`"));
            };
            // A name with the project's number is the one with its id.
            let (home, named) = (Home::of(&context), json!({"name": name}));
            let id = Id::new(*kind, canonical(&named, home)["name"].as_str().unwrap_or(name));
            let found = &resource["found"];
            let found = if matches!(kind, Kind::Policy(_)) { found.clone() } else { canonical(found, home) };
            state.insert(id, found);
        }
        Ok((state, context))
    }
}

/// The description of a service account that this deployment made.
pub(super) fn description(deployment: &str) -> String {
    format!("{DEPLOYMENT_LABEL}={deployment}")
}

const KINDS: [Kind; 18] = [
    Kind::Api,
    Kind::ServiceAgent,
    Kind::ServiceAccount,
    Kind::Secret,
    Kind::Bucket,
    Kind::Archive,
    Kind::Topic,
    Kind::Service,
    Kind::Subscription,
    Kind::Trigger,
    Kind::TriggerSubscription,
    Kind::Policy(Target::ServiceAccount),
    Kind::Policy(Target::Secret),
    Kind::Policy(Target::Bucket),
    Kind::Policy(Target::Topic),
    Kind::Policy(Target::Service),
    Kind::Policy(Target::Subscription),
    Kind::Policy(Target::TriggerSubscription),
];

/// The kind in JSON.
pub(super) fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Api => "api",
        Kind::ServiceAgent => "service-agent",
        Kind::ServiceAccount => "service-account",
        Kind::Secret => "secret",
        Kind::Bucket => "bucket",
        Kind::Archive => "archive",
        Kind::Topic => "topic",
        Kind::Service => "service",
        Kind::Subscription => "subscription",
        Kind::Trigger => "trigger",
        Kind::TriggerSubscription => "trigger-subscription",
        Kind::Policy(Target::ServiceAccount) => "service-account-access",
        Kind::Policy(Target::Secret) => "secret-access",
        Kind::Policy(Target::Bucket) => "bucket-access",
        Kind::Policy(Target::Topic) => "topic-access",
        Kind::Policy(Target::Service) => "service-access",
        Kind::Policy(Target::Subscription) => "subscription-access",
        Kind::Policy(Target::TriggerSubscription) => "trigger-subscription-access",
    }
}
