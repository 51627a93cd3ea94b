//! The resources that were found, and snapshots of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Home, canonical};
use crate::resources::{Archive, Context, DEPLOYMENT_LABEL, Id, Kind, Mark, description};

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

    /// Whether a resource is marked as created by this deployment: by its label, or, since service accounts have none,
    /// by its description.
    pub fn is_ours(&self, id: &Id) -> bool {
        let Some(found) = self.get(id) else { return false };
        match id.kind.spec().mark {
            Mark::Label => found["labels"][DEPLOYMENT_LABEL].as_str() == Some(&self.deployment),
            Mark::Description => found["description"].as_str() == Some(&description(&self.deployment)),
            Mark::None => false,
        }
    }

    /// The state as JSON, with which a later plan compares without access to the project.
    pub fn to_snapshot(&self, context: &Context) -> Value {
        let resources = self
            .resources
            .iter()
            .map(|(id, found)| json!({"kind": id.kind.spec().code, "name": id.name, "found": found}));
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
    /// It is no snapshot.
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
            let kind =
                resource["kind"].as_str().and_then(|text| Kind::ALL.into_iter().find(|kind| kind.spec().code == text));
            let (Some(kind), Some(name)) = (kind, resource["name"].as_str()) else {
                return Err(wrong("a resource has no known `kind` or no `name`"));
            };
            // A name with the project's number is the same as the one with its id.
            let (home, named) = (Home::of(&context), json!({"name": name}));
            let id = Id::new(kind, canonical(&named, home)["name"].as_str().unwrap_or(name));
            let found = &resource["found"];
            let found = if matches!(kind, Kind::Policy(_)) { found.clone() } else { canonical(found, home) };
            state.insert(id, found);
        }
        Ok((state, context))
    }
}
