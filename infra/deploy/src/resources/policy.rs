//! IAM policies: who may do what with one resource.
//!
//! Each [`Resource`] says which roles it needs, as [`Grant`]s; the policies are made of the grants of all resources.
//! How a policy is compared with the one that was found, and merged into it, is [`plan`](crate::plan)'s.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::desired::Desired;
use super::export::{Export, Member, SUBSCRIPTION_ATTRIBUTE};
use super::grant::{Bindings, Grant, IF, INVOKER, ROLES, TOKEN_CREATOR};
use super::kind::{Api, Id, Kind, Target};
use super::resource::Resource;
use super::spec::{Permission, Spec};

const fn row(noun: &'static str, code: &'static str, api: Api) -> Spec {
    Spec { summary, ..Spec::new(noun, code, api) }
}

const SERVICE_ACCOUNT: Spec = Spec {
    permissions: &[
        Permission::new("iam.serviceAccounts.setIamPolicy", "roles/iam.serviceAccountAdmin"),
        Permission::new("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
    ],
    export: Export::Member(Member {
        resource: "google_service_account_iam_member",
        argument: "service_account_id",
        refers_to: (Kind::ServiceAccount, "name"),
        arguments: &[],
        depends_on: &[],
    }),
    ..row("access to service account", "service-account-access", Api::Iam)
};

const SECRET: Spec = Spec {
    permissions: &[
        Permission::new("secretmanager.secrets.getIamPolicy", "roles/secretmanager.admin"),
        Permission::new("secretmanager.secrets.setIamPolicy", "roles/secretmanager.admin"),
    ],
    export: Export::Member(Member {
        resource: "google_secret_manager_secret_iam_member",
        argument: "secret_id",
        refers_to: (Kind::Secret, "id"),
        arguments: &[],
        depends_on: &[Kind::Api],
    }),
    ..row("access to secret", "secret-access", Api::SecretManager)
};

const BUCKET: Spec = Spec {
    permissions: &[Permission::new("storage.buckets.setIamPolicy", "roles/storage.admin")],
    export: Export::Member(Member {
        resource: "google_storage_bucket_iam_member",
        argument: "bucket",
        refers_to: (Kind::Bucket, "name"),
        arguments: &[],
        depends_on: &[],
    }),
    ..row("access to bucket", "bucket-access", Api::Storage)
};

const TOPIC: Spec = Spec {
    permissions: &[Permission::new("pubsub.topics.setIamPolicy", "roles/pubsub.admin")],
    export: Export::Member(Member {
        resource: "google_pubsub_topic_iam_member",
        argument: "topic",
        refers_to: (Kind::Topic, "id"),
        arguments: &[],
        depends_on: &[],
    }),
    ..row("access to topic", "topic-access", Api::PubSub)
};

const SERVICE: Spec = Spec {
    permissions: &[Permission::new("run.services.setIamPolicy", "roles/run.admin")],
    export: Export::Member(Member {
        resource: "google_cloud_run_v2_service_iam_member",
        argument: "name",
        refers_to: (Kind::Service, "name"),
        arguments: &[("location", "${var.region}")],
        depends_on: &[],
    }),
    ..row("access to service", "service-access", Api::Run)
};

const SUBSCRIPTION_PERMISSIONS: &[Permission] =
    &[Permission::new("pubsub.subscriptions.setIamPolicy", "roles/pubsub.admin")];

const SUBSCRIPTION: Spec = Spec {
    permissions: SUBSCRIPTION_PERMISSIONS,
    export: Export::Member(Member {
        resource: "google_pubsub_subscription_iam_member",
        argument: "subscription",
        refers_to: (Kind::Subscription, "id"),
        arguments: &[],
        depends_on: &[],
    }),
    ..row("access to subscription", "subscription-access", Api::PubSub)
};

const TRIGGER_SUBSCRIPTION: Spec = Spec {
    permissions: SUBSCRIPTION_PERMISSIONS,
    export: Export::Member(Member {
        resource: "google_pubsub_subscription_iam_member",
        argument: "subscription",
        refers_to: (Kind::Trigger, SUBSCRIPTION_ATTRIBUTE),
        arguments: &[],
        depends_on: &[],
    }),
    ..row("access to subscription of trigger", "trigger-subscription-access", Api::Eventarc)
};

/// The row of the policies of this kind of resource.
pub(super) fn spec(target: Target) -> &'static Spec {
    match target {
        Target::ServiceAccount => &SERVICE_ACCOUNT,
        Target::Secret => &SECRET,
        Target::Bucket => &BUCKET,
        Target::Topic => &TOPIC,
        Target::Service => &SERVICE,
        Target::Subscription => &SUBSCRIPTION,
        Target::TriggerSubscription => &TRIGGER_SUBSCRIPTION,
    }
}

/// `pubsub.publisher for ai-workloads-function`
fn summary(body: &Value) -> String {
    let mut parts = Vec::new();
    for (role, members) in body["grants"].as_object().into_iter().flatten() {
        let role = match role.trim_start_matches("roles/").split_once(IF) {
            Some((role, _)) => format!("{role} on a condition"),
            None => role.trim_start_matches("roles/").to_owned(),
        };
        for member in members.as_array().into_iter().flatten() {
            let member = member.as_str().and_then(|member| member.split(['@', ':']).nth(1)).unwrap_or_default();
            parts.push(format!("{role} for {member}"));
        }
    }
    parts.join(", ")
}

/// The body of a policy: `grants`, the bindings that have to exist, and `managed`, the members who may have nothing
/// else of the roles in `roles`.
pub(crate) fn body(grants: &Bindings, managed: &BTreeSet<String>) -> Value {
    json!({ "grants": grants, "managed": managed, "roles": ROLES })
}

/// A body that revokes every role of a deployment from these members, and leaves what others have.
pub fn revocation(members: &BTreeSet<String>) -> Value {
    json!({ "grants": {}, "managed": members, "roles": ROLES, "public": "stays" })
}

impl Desired<'_> {
    /// The policies that contain what these resources need to be granted.
    ///
    /// Every topic and service has its policy compared, so that a grant that should not exist is found.
    pub(super) fn policies(&self, granting: &[Resource]) -> Vec<Resource> {
        let mut policies: BTreeMap<Target, BTreeMap<String, Bindings>> = BTreeMap::new();
        let topics = self.topology.topics.iter().map(|topic| (Target::Topic, self.context.topic(&topic.name)));
        let services =
            self.topology.services.iter().map(|service| (Target::Service, self.context.service(&service.name)));
        for (target, name) in topics.chain(services) {
            policies.entry(target).or_default().entry(name).or_default();
        }
        for Grant { target, name, role, member } in granting.iter().flat_map(|resource| resource.grants.clone()) {
            let bindings = policies.entry(target).or_default().entry(name).or_default();
            bindings.entry(role).or_default().insert(member);
        }
        let managed = self.topology.service_accounts.iter().map(|account| self.member(&account.name)).collect();
        let mut all = Vec::new();
        for (target, named) in policies {
            for (name, bindings) in named {
                let mut policy =
                    self.resource(Kind::Policy(target), spec(target), name.clone(), body(&bindings, &managed));
                let members: BTreeSet<&String> = bindings.values().flatten().collect();
                policy.needs.extend(members.into_iter().filter_map(|member| self.member_need(member)));
                policy.needs.push(Id::new(target.kind(), name));
                all.push(policy);
            }
        }
        all
    }

    pub(super) fn grant(&self, target: Target, name: String, role: &str, account: &str) -> Grant {
        Grant { target, name, role: role.to_owned(), member: self.member(account) }
    }

    /// What the caller of a push or trigger has to be granted: it invokes the service, and Pub/Sub signs tokens as its
    /// account. An account of another project can be granted nothing here; see
    /// [`unsigned_callers`](super::unsigned_callers).
    pub(super) fn caller_grants(&self, account: Option<&String>, service: Option<&String>) -> Vec<Grant> {
        let Some(account) = account else { return Vec::new() };
        let invokes =
            service.map(|service| self.grant(Target::Service, self.context.service(service), INVOKER, account));
        let signs = self.token_policy(Some(account));
        let agent = self.context.pubsub_agent();
        let signs = signs.map(|policy| self.grant(Target::ServiceAccount, policy.name, TOKEN_CREATOR, &agent));
        invokes.into_iter().chain(signs).collect()
    }

    /// The policy of the account that a push or trigger uses, if the account is of this project.
    pub(super) fn token_policy(&self, account: Option<&String>) -> Option<Id> {
        let email = self.context.email(account?);
        let own = self.context.is_own_account(&email);
        own.then(|| Id::new(Kind::Policy(Target::ServiceAccount), self.context.service_account(&email)))
    }

    fn member(&self, account: &str) -> String {
        format!("serviceAccount:{}", self.context.email(account))
    }

    /// What has to exist before a member can be granted anything, if this deployment creates it.
    fn member_need(&self, member: &str) -> Option<Id> {
        if *member == self.member(&self.context.pubsub_agent()) {
            return Some(self.service_agent_id());
        }
        let account = self.topology.service_accounts.iter().find(|account| self.member(&account.name) == member)?;
        self.account_need(Some(&account.name))
    }
}
