//! A topology as resources of one project, with bodies as the REST APIs take them.

mod access;
mod pubsub;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Context, DEPLOYMENT_LABEL, Id, Kind, Resource, Target};
use crate::cloud::Api;
pub(crate) use access::{SECRET_ACCESSOR, TOKEN_CREATOR};
use infra::topology::Topology;
pub(crate) use service::{BASE_IMAGE, LIVENESS, MESSAGE_PUBLISHED, Probe, STARTUP};

/// Everything that a topology declares, each after what it needs.
pub fn declared(topology: &Topology, context: &Context) -> Vec<Resource> {
    Declared { topology, context }.resources()
}

struct Declared<'a> {
    topology: &'a Topology,
    context: &'a Context,
}

impl Declared<'_> {
    fn resources(&self) -> Vec<Resource> {
        let policies = self.policies();
        let access = |target| policies.iter().filter(move |policy| policy.id.kind == Kind::Policy(target)).cloned();
        let mut all = self.apis();
        all.extend(self.agent(&policies));
        all.extend(self.accounts());
        all.extend(self.secrets());
        all.extend(access(Target::ServiceAccount));
        all.extend(access(Target::Secret));
        all.extend(self.topics());
        all.extend(self.bucket());
        all.extend(access(Target::Bucket));
        all.extend(access(Target::Topic));
        all.extend(self.topology.services.iter().map(|service| self.service(service)));
        all.extend(access(Target::Service));
        all.extend(self.topology.subscriptions.iter().map(|subscription| self.subscription(subscription)));
        all.extend(self.topology.services.iter().flat_map(|service| self.trigger(service)));
        all.extend(access(Target::Subscription));
        all.extend(access(Target::TriggerSubscription));
        all
    }

    fn resource(&self, kind: Kind, name: String, body: Value, needs: Vec<Id>) -> Resource {
        let mut needs = needs;
        if kind != Kind::Api {
            needs.push(Id::new(Kind::Api, kind.api().service()));
        }
        Resource { id: Id::new(kind, name), body, creation: json!({}), needs }
    }

    fn apis(&self) -> Vec<Resource> {
        let services = &self.topology.services;
        let needed = |api: &Api| match api {
            Api::Run => !services.is_empty(),
            Api::Eventarc => services.iter().any(|service| service.trigger.is_some()),
            // Also for a bucket from elsewhere: its policy cannot be read without.
            Api::Storage => {
                self.topology.archive.is_some()
                    || services.iter().any(|service| !self.written_buckets(service).is_empty())
            }
            Api::SecretManager => self.topology.declares_secrets(),
            Api::PubSub | Api::Iam | Api::ResourceManager | Api::ServiceUsage => true,
        };
        let mut names: Vec<&str> = Api::ALL.iter().filter(|api| needed(api)).map(|api| api.service()).collect();
        names.sort_unstable();
        let api = |name: &str| self.resource(Kind::Api, name.to_owned(), json!({"state": "ENABLED"}), Vec::new());
        names.into_iter().map(api).collect()
    }

    /// Pub/Sub's service agent, where a policy grants it something.
    fn agent(&self, policies: &[Resource]) -> Option<Resource> {
        let name = self.context.pubsub_identity();
        let id = Id::new(Kind::ServiceAgent, name.clone());
        let email = self.context.pubsub_agent();
        let body = json!({"email": email, "member": format!("serviceAccount:{email}")});
        let needed = policies.iter().any(|policy| policy.needs.contains(&id));
        needed.then(|| self.resource(Kind::ServiceAgent, name, body, Vec::new()))
    }

    /// The secrets that services read, each with the versions that they name.
    fn secrets(&self) -> Vec<Resource> {
        let mut all: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for secret in self.topology.services.iter().flat_map(|service| service.secrets.values()) {
            all.entry(self.context.secret(secret)).or_default().insert(&secret.version);
        }
        let secret = |(name, versions)| self.resource(Kind::Secret, name, json!({ "versions": versions }), Vec::new());
        all.into_iter().map(secret).collect()
    }

    fn bucket(&self) -> Vec<Resource> {
        let Some(archive) = &self.topology.archive else { return Vec::new() };
        let name = archive.bucket(&self.context.project);
        let mut body = json!({
            "labels": self.labels(&BTreeMap::new()),
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": true},
                "publicAccessPrevention": "enforced",
            },
            // Every deleted archive and entry of a ledger would be kept, and billed, for a week.
            "softDeletePolicy": {"retentionDurationSeconds": archive.soft_delete.unwrap_or_default().as_secs()},
        });
        let rules: Vec<Value> = self.topology.expiries().into_iter().map(|(prefix, days)| {
            json!({"action": {"type": "Delete"}, "condition": {"age": days, "matchesPrefix": [prefix]}})
        }).collect();
        if !rules.is_empty() {
            body["lifecycle"] = json!({"rule": rules});
        }
        let mut bucket = self.resource(Kind::Bucket, name.clone(), body, Vec::new());
        bucket.creation = json!({"location": self.context.region});
        let object = format!("{name}/{}", self.context.object());
        let needs = vec![bucket.id.clone()];
        vec![bucket, self.resource(Kind::Archive, object, json!({}), needs)]
    }

    /// Declared labels, and whose the resource is.
    fn labels(&self, declared: &BTreeMap<String, String>) -> Value {
        let ours = (DEPLOYMENT_LABEL.to_owned(), self.topology.name.clone());
        let all = declared.clone().into_iter().chain([ours]).map(|(key, value)| (key, Value::String(value)));
        Value::Object(all.collect())
    }
}

fn put(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(key.to_owned(), value.into());
    }
}

/// As Google's JSON writes a duration.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}
