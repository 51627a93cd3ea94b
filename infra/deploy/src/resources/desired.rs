//! A topology and the project that it becomes resources of: what the files of all kinds share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::context::Context;
use super::kind::{Id, Kind};
use super::resource::{DEPLOYMENT_LABEL, Resource};
use super::spec::Spec;
use infra::topology::Topology;

/// A topology and the project that it becomes resources of.
pub(super) struct Desired<'a> {
    pub(super) topology: &'a Topology,
    pub(super) context: &'a Context,
}

impl Desired<'_> {
    /// A resource that needs its API and nothing else.
    pub(super) fn resource(&self, kind: Kind, spec: &Spec, name: String, body: Value) -> Resource {
        let mut resource = Resource::new(Id::new(kind, name), body);
        if kind != Kind::Api {
            resource.needs.push(Id::new(Kind::Api, spec.api.service()));
        }
        resource
    }

    /// Declared labels, and the deployment's.
    pub(super) fn labels(&self, declared: &BTreeMap<String, String>) -> Value {
        let deployment = (DEPLOYMENT_LABEL.to_owned(), self.topology.name.clone());
        let all = declared.clone().into_iter().chain([deployment]).map(|(key, value)| (key, Value::String(value)));
        Value::Object(all.collect())
    }
}

pub(super) fn put(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(key.to_owned(), value.into());
    }
}

/// As Google's JSON writes a duration.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// The last part of a full name.
pub(super) fn short(name: &Value) -> &str {
    name.as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}
