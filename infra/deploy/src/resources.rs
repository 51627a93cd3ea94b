//! The resources that a topology declares, as Google's REST APIs take them.
//!
//! [`declared`] is the one translation of a topology: [`plan`](crate::plan) compares its resources with those that were
//! found, [`terraform`](crate::terraform) writes the same ones in Terraform's terms, and the local run applies the
//! topics and subscriptions among them to the local Pub/Sub.
//!
//! # Layout
//!
//! - `kind`: APIs, kinds and names; `resource`: one resource; `grant`: roles, and who has to have them
//! - `spec`: what deploying has to know of a kind: API, immutable fields, permissions; `export`: how Terraform writes it
//! - `context`: where a topology is deployed to, and the names there; `desired`: what the files of all kinds share
//! - `api`, `service_agent`, `service_account`, `secret`, `bucket`, `archive`, `topic`, `service`, `subscription`,
//!   `trigger`: one file a kind, with its body, its needs, its grants and its row of the table
//! - `delivery`: what the subscriptions of both kinds share, the dead-letter policy among it
//! - `policy`: who may do what, made of the grants of all others
//! - `table`: the rows of all kinds

mod api;
mod archive;
mod bucket;
mod context;
mod delivery;
mod desired;
pub(crate) mod export;
mod grant;
mod kind;
mod policy;
mod resource;
mod secret;
mod service;
mod service_account;
mod service_agent;
mod spec;
mod subscription;
mod table;
mod topic;
mod trigger;

pub use context::{ARCHIVES, Archive, Context, source};
pub use grant::Grant;
pub(crate) use grant::{Bindings, CONDITION, IF, TOKEN_CREATOR, within};
pub use kind::{Api, Id, Kind, Target};
pub use policy::revocation;
pub use resource::{DEPLOYMENT_LABEL, Resource};
pub(crate) use secret::secrets_in;
pub(crate) use service_account::description;
pub(crate) use spec::Mark;
pub use spec::Permission;
pub use table::{all_permissions, permissions};
#[cfg(test)]
pub(crate) use {grant::objects, policy::body};

use desired::Desired;
use infra::topology::Topology;

/// Everything that a topology declares, each after what it needs.
pub fn declared(topology: &Topology, context: &Context) -> Vec<Resource> {
    Desired { topology, context }.resources()
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
}
