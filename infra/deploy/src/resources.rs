//! The resources that a topology declares, as Google's REST APIs take them.
//!
//! [`declared`] is the one translation of a topology: [`plan`](crate::plan) compares its resources with those that were
//! found, [`terraform`](crate::terraform) writes the same ones in Terraform's terms, and the local run applies the
//! topics and subscriptions among them to the local Pub/Sub.
//!
//! # Layout
//!
//! - `context`: where a topology is deployed to, and the names there
//! - `kind`: the kinds, and the table of what each is: API, immutable fields, permissions, how it is exported
//! - `api`, `service_agent`, `service_account`, `secret`, `bucket`, `archive`, `topic`, `service`, `subscription`,
//!   `trigger`: one file a kind, with its body, its needs, its grants and its row of the table
//! - `policy`: who may do what, made of the grants of all others
//! - `export`: the form of the tables by which Terraform is written

mod api;
mod archive;
mod bucket;
mod context;
pub(crate) mod export;
mod kind;
mod policy;
mod secret;
mod service;
mod service_account;
mod service_agent;
mod subscription;
mod topic;
mod trigger;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

pub use api::Api;
pub use context::{ARCHIVES, Archive, Context, source};
pub(crate) use kind::Mark;
pub use kind::{Id, Kind, Permission, Target};
pub(crate) use policy::{Bindings, CONDITION, IF, TOKEN_CREATOR, within};
pub use policy::{Grant, revocation};
#[cfg(test)]
pub(crate) use policy::{body, objects};
pub(crate) use secret::secrets_in;
pub(crate) use service_account::description;
pub(crate) use trigger::SUBSCRIPTION_ATTRIBUTE;

use infra::topology::Topology;

/// The label that says which deployment a resource belongs to: its value is the deployment's name.
pub const DEPLOYMENT_LABEL: &str = "ai-workloads-deployment";

/// A resource as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Which one.
    pub id: Id,
    /// The fields that are kept as they are declared. Fields that a body leaves out are never compared or changed.
    pub body: Value,
    /// Fields that matter when it is created and never after.
    pub creation: Value,
    /// What has to exist before.
    pub needs: Vec<Id>,
    /// The roles that it needs its accounts, or Pub/Sub's service agent, to have.
    pub grants: Vec<Grant>,
}

impl Resource {
    /// A resource with this body that needs nothing.
    pub fn new(id: Id, body: Value) -> Self {
        Self { id, body, creation: json!({}), needs: Vec::new(), grants: Vec::new() }
    }
}

/// Everything that a topology declares, each after what it needs.
pub fn declared(topology: &Topology, context: &Context) -> Vec<Resource> {
    Desired { topology, context }.resources()
}

/// The permissions that deploying these resources takes, each once; `enables` says whether an API has to be enabled, or
/// a service agent created.
pub fn permissions(declared: &[Resource], enables: bool) -> Vec<Permission> {
    let kinds = Kind::ALL.into_iter().filter(|kind| declared.iter().any(|resource| resource.id.kind == *kind));
    let mut all: Vec<Permission> = enables.then_some(api::ENABLE).into_iter().collect();
    for permission in kinds.flat_map(|kind| kind.spec().permissions) {
        if !all.contains(permission) {
            all.push(*permission);
        }
    }
    all
}

/// Every permission that deploying some topology takes.
pub fn all_permissions() -> impl Iterator<Item = Permission> {
    let kinds = Kind::ALL.into_iter().flat_map(|kind| kind.spec().permissions);
    [api::ENABLE].into_iter().chain(kinds.copied())
}

/// A push or trigger with an account of another project, and that account's email.
///
/// Pub/Sub signs tokens as that account only if its service agent may, which can be neither granted nor seen from this
/// project.
pub fn unsigned_callers(declared: &[Resource]) -> impl Iterator<Item = (&Id, &str)> {
    declared.iter().filter_map(|resource| {
        let account = match resource.id.kind {
            Kind::Subscription => &resource.body["pushConfig"]["oidcToken"]["serviceAccountEmail"],
            Kind::Trigger => &resource.body["serviceAccount"],
            _ => return None,
        };
        let granted = resource.grants.iter().any(|grant| grant.role == TOKEN_CREATOR);
        Some((&resource.id, account.as_str().filter(|_| !granted)?))
    })
}

/// The command that lets Pub/Sub's service agent sign tokens as an account.
pub fn token_grant_command(email: &str, agent: &str) -> String {
    format!("gcloud iam service-accounts add-iam-policy-binding {email} --member={agent} --role={TOKEN_CREATOR}")
}

/// A topology and the project that it becomes resources of.
struct Desired<'a> {
    topology: &'a Topology,
    context: &'a Context,
}

impl Desired<'_> {
    fn resources(&self) -> Vec<Resource> {
        let services: Vec<Resource> = self.topology.services.iter().map(|service| self.service(service)).collect();
        let subscriptions = self.topology.subscriptions.iter().map(|subscription| self.subscription(subscription));
        let subscriptions: Vec<Resource> = subscriptions.collect();
        let triggers: Vec<Resource> = self.topology.services.iter().flat_map(|service| self.trigger(service)).collect();
        let policies = self.policies(&[&services[..], &subscriptions, &triggers].concat());
        let access = |target| policies.iter().filter(move |policy| policy.id.kind == Kind::Policy(target)).cloned();

        let mut all = self.apis();
        all.extend(self.service_agent(&policies));
        all.extend(self.service_accounts());
        all.extend(self.secrets());
        all.extend(access(Target::ServiceAccount));
        all.extend(access(Target::Secret));
        all.extend(self.topics());
        all.extend(self.bucket());
        all.extend(self.archive());
        all.extend(access(Target::Bucket));
        all.extend(access(Target::Topic));
        all.extend(services);
        all.extend(access(Target::Service));
        all.extend(subscriptions);
        all.extend(triggers);
        all.extend(access(Target::Subscription));
        all.extend(access(Target::TriggerSubscription));
        all
    }

    /// A resource that needs its API and nothing else.
    fn resource(&self, kind: Kind, name: String, body: Value) -> Resource {
        let mut resource = Resource::new(Id::new(kind, name), body);
        if kind != Kind::Api {
            resource.needs.push(Id::new(Kind::Api, kind.api().service()));
        }
        resource
    }

    /// Declared labels, and the deployment's.
    fn labels(&self, declared: &BTreeMap<String, String>) -> Value {
        let deployment = (DEPLOYMENT_LABEL.to_owned(), self.topology.name.clone());
        let all = declared.clone().into_iter().chain([deployment]).map(|(key, value)| (key, Value::String(value)));
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

/// The last part of a full name.
fn short(name: &Value) -> &str {
    name.as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}
