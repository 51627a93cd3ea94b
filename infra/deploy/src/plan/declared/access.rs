//! Service accounts, and who may do what: nothing for a whole project, and nothing for everyone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Declared;
use crate::plan::policy::{self, Bindings};
use crate::plan::{Id, Kind, Resource, Target, state};
use infra::topology::{Destination, PROJECT, PushTarget, Service};

/// Pub/Sub signs the tokens of pushes, Eventarc's own among them, as the account that they are from.
/// <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>
pub(crate) const TOKEN_CREATOR: &str = "roles/iam.serviceAccountOpenIdTokenCreator";

/// Reads a secret.
pub(crate) const SECRET_ACCESSOR: &str = "roles/secretmanager.secretAccessor";

/// Of each policy: who has which role, and the accounts among them that have to be there first.
type Policies = BTreeMap<Target, BTreeMap<String, (Bindings, BTreeSet<Id>)>>;

impl Declared<'_> {
    pub(super) fn accounts(&self) -> Vec<Resource> {
        let accounts = self.topology.service_accounts.iter().map(|account| {
            let email = self.context.email(&account.name);
            let body = json!({
                "displayName": account.display_name.as_deref().unwrap_or(&account.name),
                "description": state::description(&self.topology.name),
            });
            self.resource(Kind::ServiceAccount, self.context.service_account(&email), body, Vec::new())
        });
        accounts.collect()
    }

    /// The account, if it is a declared one.
    pub(super) fn account_need(&self, account: Option<&String>) -> Vec<Id> {
        let declared = account.filter(|account| self.topology.service_accounts.iter().any(|a| a.name == **account));
        let id = |account: &String| {
            Id::new(Kind::ServiceAccount, self.context.service_account(&self.context.email(account)))
        };
        declared.map(id).into_iter().collect()
    }

    pub(super) fn written_topics<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = String> + 's {
        let results = service.results.iter().filter_map(|result| match result {
            Destination::Topic(topic) => Some(topic),
            _ => None,
        });
        results.chain(&service.dead_letter_topic).map(|topic| self.context.topic(topic))
    }

    /// The buckets that a service writes to, and the role that it needs there. In the archive's bucket it gets no further than its
    /// ledger: who can write archives can run anything. Elsewhere a condition could be refused, since it needs uniform access.
    pub(super) fn written_buckets(&self, service: &Service) -> Vec<(String, String)> {
        const ROLE: &str = "roles/storage.objectUser";
        let results = service.results.iter().filter_map(|result| match result {
            Destination::Bucket { bucket, .. } => {
                Some((bucket.replace(PROJECT, &self.context.project), ROLE.to_owned()))
            }
            _ => None,
        });
        let ledger = service.ledger.as_ref().map(|ledger| {
            let bucket = ledger.bucket(&self.context.project);
            let own = self.topology.archive.as_ref().is_some_and(|archive| archive.bucket == ledger.bucket);
            let role =
                if own { policy::within(ROLE, &policy::objects(&bucket, &ledger.prefix)) } else { ROLE.to_owned() };
            (bucket, role)
        });
        results.chain(ledger).collect()
    }

    /// The secrets that a service reads, by their full names.
    pub(super) fn read_secrets<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = String> + 's {
        service.secrets.values().map(|secret| self.context.secret(secret))
    }

    /// The policy of the account that a push or trigger uses, if the account is of this project.
    pub(super) fn token_policy(&self, account: Option<&String>) -> Option<Id> {
        let email = self.context.email(account?);
        let own = self.context.is_own_account(&email);
        own.then(|| Id::new(Kind::Policy(Target::ServiceAccount), self.context.service_account(&email)))
    }

    pub(super) fn policies(&self) -> Vec<Resource> {
        let mut policies = Policies::new();
        // Every topic and service has its policy looked at, so that what should not be there shows.
        let topics = self.topology.topics.iter().map(|topic| (Target::Topic, self.context.topic(&topic.name)));
        let services =
            self.topology.services.iter().map(|service| (Target::Service, self.context.service(&service.name)));
        for (target, name) in topics.chain(services) {
            policies.entry(target).or_default().entry(name).or_default();
        }
        let agent = self.context.pubsub_agent();
        let mut grant = |target: Target, name: String, role: &str, account: &String| {
            let (bindings, needs) = policies.entry(target).or_default().entry(name).or_default();
            bindings.entry(role.to_owned()).or_default().insert(self.member(account));
            needs.extend(self.account_need(Some(account)));
            needs.extend((*account == agent).then(|| Id::new(Kind::ServiceAgent, self.context.pubsub_identity())));
        };
        for service in &self.topology.services {
            if let Some(account) = &service.service_account {
                for topic in self.written_topics(service) {
                    grant(Target::Topic, topic, "roles/pubsub.publisher", account);
                }
                for (bucket, role) in self.written_buckets(service) {
                    grant(Target::Bucket, bucket, &role, account);
                }
                for secret in self.read_secrets(service) {
                    grant(Target::Secret, secret, SECRET_ACCESSOR, account);
                }
            }
            let Some(trigger) = &service.trigger else { continue };
            if let Some(account) = &trigger.service_account {
                grant(Target::Service, self.context.service(&service.name), "roles/run.invoker", account);
            }
            if let Some(policy) = self.token_policy(trigger.service_account.as_ref()) {
                grant(Target::ServiceAccount, policy.name, TOKEN_CREATOR, &agent);
            }
            if let Some(topic) = self.dead_letter_topic(&trigger.delivery) {
                grant(Target::Topic, topic.name, "roles/pubsub.publisher", &agent);
                let name = self.context.trigger(&service.name);
                grant(Target::TriggerSubscription, name, "roles/pubsub.subscriber", &agent);
            }
        }
        for subscription in &self.topology.subscriptions {
            if let Some(push) = &subscription.push
                && let (PushTarget::Service(service), Some(account)) = (&push.target, &push.service_account)
            {
                grant(Target::Service, self.context.service(service), "roles/run.invoker", account);
            }
            let caller = subscription.push.as_ref().and_then(|push| push.service_account.as_ref());
            if let Some(policy) = self.token_policy(caller) {
                grant(Target::ServiceAccount, policy.name, TOKEN_CREATOR, &agent);
            }
            if let Some(topic) = self.dead_letter_topic(&subscription.delivery) {
                grant(Target::Topic, topic.name, "roles/pubsub.publisher", &agent);
                let name = self.context.subscription(&subscription.name);
                grant(Target::Subscription, name, "roles/pubsub.subscriber", &agent);
            }
        }
        let managed = self.topology.service_accounts.iter().map(|account| self.member(&account.name)).collect();
        let mut all = Vec::new();
        for (target, named) in policies {
            for (name, (bindings, accounts)) in named {
                let needs = accounts.into_iter().chain([Id::new(target.kind(), name.clone())]).collect();
                all.push(self.resource(Kind::Policy(target), name, policy::body(&bindings, &managed), needs));
            }
        }
        all
    }

    fn member(&self, account: &str) -> String {
        format!("serviceAccount:{}", self.context.email(account))
    }
}
