//! Service accounts, and who may do what: nothing in the whole project that need not be.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Document, in_project, literal};
use crate::plan::{CONDITION, SECRET_ACCESSOR, TOKEN_CREATOR, objects};
use infra::topology::{Destination, PushTarget, Secret, Service};

/// Pub/Sub's service agent: forwards dead letters, and signs the tokens of pushes.
const AGENT: &str = "${google_project_service_identity.pubsub.member}";

impl Document<'_> {
    pub(super) fn access(&mut self) {
        for account in &self.topology.service_accounts {
            let body = json!({
                "account_id": account.name,
                "display_name": account.display_name.as_deref().map(literal),
                "depends_on": ["google_project_service.iam"],
            });
            let name = self.name("google_service_account", &account.name).to_owned();
            self.add("google_service_account", &name, body);
        }
        self.invokers();
        self.runtime();
        self.agent();
        self.tokens();
        let agent = |body: &Value| body["member"] == AGENT;
        if self.resources.values().flat_map(Map::values).any(agent) {
            // The agent is there only after its first use, and its grants before.
            let body = json!({
                "provider": "google-beta",
                "project": "${var.project}",
                "service": "pubsub.googleapis.com",
                "depends_on": ["google_project_service.pubsub"],
            });
            self.add("google_project_service_identity", "pubsub", body);
        }
    }

    /// Pub/Sub may sign tokens as the accounts of pushes and triggers.
    fn tokens(&mut self) {
        let topology = self.topology;
        let pushes = topology.subscriptions.iter().filter_map(|subscription| subscription.push.as_ref());
        let pushes = pushes.filter_map(|push| push.service_account.as_ref());
        let triggers = topology.services.iter().filter_map(|service| service.trigger.as_ref());
        for account in pushes.chain(triggers.filter_map(|trigger| trigger.service_account.as_ref())) {
            let kind = "google_service_account";
            if account.contains('@') {
                // Whose it is, is not known here.
                let email = literal(account);
                let grant = format!(
                    "gcloud iam service-accounts add-iam-policy-binding {email} --member={AGENT} --role={TOKEN_CREATOR}"
                );
                if !self.after_apply.contains(&grant) {
                    self.after_apply.push(grant);
                }
                continue;
            }
            let body = json!({
                "service_account_id": self.attribute(kind, account, "name"),
                "role": TOKEN_CREATOR,
                "member": AGENT,
            });
            let name = self.name(kind, account).to_owned();
            self.add("google_service_account_iam_member", &name, body);
        }
    }

    /// The grant that a push or trigger with this account waits for.
    pub(super) fn token_need(&self, account: Option<&String>) -> Option<String> {
        let declared = account.filter(|account| !account.contains('@'))?;
        Some(format!("google_service_account_iam_member.{}", self.name("google_service_account", declared)))
    }

    /// Triggers and pushes may invoke their service.
    fn invokers(&mut self) {
        let topology = self.topology;
        for service in &topology.services {
            let trigger = service.trigger.as_ref().and_then(|trigger| trigger.service_account.as_ref());
            if let Some(account) = trigger {
                self.invoker(&service.name, "_trigger", account);
            }
        }
        for subscription in &topology.subscriptions {
            let Some(push) = &subscription.push else { continue };
            if let (PushTarget::Service(service), Some(account)) = (&push.target, &push.service_account) {
                let caller = self.name("google_pubsub_subscription", &subscription.name).to_owned();
                self.invoker(service, &caller, account);
            }
        }
    }

    /// A caller that is no declared name begins with `_`, which declared names do not.
    fn invoker(&mut self, service: &str, caller: &str, account: &str) {
        let run = "google_cloud_run_v2_service";
        let body = json!({
            "name": self.attribute(run, service, "name"),
            "location": "${var.region}",
            "role": "roles/run.invoker",
            "member": self.member(account),
        });
        let name = format!("{}_{caller}", self.name(run, service));
        self.add("google_cloud_run_v2_service_iam_member", &name, body);
    }

    /// Services may publish to their topics, write to their buckets and read their secrets. What a service without an account
    /// runs as is not the topology's.
    fn runtime(&mut self) {
        let topology = self.topology;
        for service in &topology.services {
            let Some(account) = &service.service_account else { continue };
            let name = self.name("google_cloud_run_v2_service", &service.name).to_owned();
            let member = self.member(account);
            for result in &service.results {
                match result {
                    Destination::Topic(topic) => self.publisher(&name, topic, &member),
                    Destination::Bucket { bucket, .. } => self.writer(&name, bucket, None, &member),
                    Destination::Response | Destination::Stdout => {}
                }
            }
            if let Some(ledger) = &service.ledger {
                self.writer(&name, &ledger.bucket, Some(&ledger.prefix), &member);
            }
            if let Some(topic) = &service.dead_letter_topic {
                self.publisher(&name, topic, &member);
            }
            for secret in service.secrets.values() {
                let body = json!({
                    "secret_id": secret.secret,
                    "role": SECRET_ACCESSOR,
                    "member": member,
                    "depends_on": ["google_project_service.secretmanager"],
                });
                // Two variables with the same secret have one grant.
                self.add("google_secret_manager_secret_iam_member", &secret_grant(&name, secret), body);
            }
        }
    }

    /// The grants that a service waits for.
    pub(super) fn secret_needs(&self, service: &Service) -> Vec<String> {
        let name = self.name("google_cloud_run_v2_service", &service.name);
        let secrets = service.secrets.values().filter(|_| service.service_account.is_some());
        let grants: BTreeSet<String> = secrets.map(|secret| secret_grant(name, secret)).collect();
        grants.into_iter().map(|grant| format!("google_secret_manager_secret_iam_member.{grant}")).collect()
    }

    fn publisher(&mut self, who: &str, topic: &str, member: &str) {
        let body = json!({"topic": self.topic(topic), "role": "roles/pubsub.publisher", "member": member});
        let name = format!("{who}_{}", self.name("google_pubsub_topic", topic));
        self.add("google_pubsub_topic_iam_member", &name, body);
    }

    /// With a ledger's prefix, in the archive's bucket only below it.
    fn writer(&mut self, who: &str, bucket: &str, ledger: Option<&str>, member: &str) {
        let own = self.topology.archive.as_ref().is_some_and(|archive| archive.bucket == bucket);
        let place = if own { "${google_storage_bucket.archive.name}".to_owned() } else { in_project(bucket) };
        let condition = ledger
            .filter(|_| own)
            .map(|prefix| json!({"title": CONDITION, "expression": objects(&place, &literal(prefix))}));
        let body = json!({
            "bucket": place, "role": "roles/storage.objectUser", "member": member, "condition": condition,
        });
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = format!("{who}_{bucket}").chars().map(plain).collect();
        let name = if ledger.is_some() { format!("{name}_ledger") } else { name };
        self.add("google_storage_bucket_iam_member", &name, body);
    }

    /// Pub/Sub may forward dead letters: publish them, and acknowledge them where they come from.
    fn agent(&mut self) {
        let topology = self.topology;
        let role = "roles/pubsub.subscriber";
        for subscription in &topology.subscriptions {
            let Some(dead_letter) = &subscription.delivery.dead_letter else { continue };
            self.publisher("agent_", &dead_letter.topic, AGENT);
            let kind = "google_pubsub_subscription";
            let source = self.attribute(kind, &subscription.name, "id");
            let name = self.name(kind, &subscription.name).to_owned();
            let body = json!({"subscription": source, "role": role, "member": AGENT});
            self.add("google_pubsub_subscription_iam_member", &format!("subscription__{name}"), body);
        }
        for service in &topology.services {
            let Some(dead_letter) = service.trigger.as_ref().and_then(|trigger| trigger.delivery.dead_letter.as_ref())
            else {
                continue;
            };
            self.publisher("agent_", &dead_letter.topic, AGENT);
            let name = self.name("google_cloud_run_v2_service", &service.name).to_owned();
            let source = format!("${{google_eventarc_trigger.{name}.transport[0].pubsub[0].subscription}}");
            let body = json!({"subscription": source, "role": role, "member": AGENT});
            self.add("google_pubsub_subscription_iam_member", &format!("trigger__{name}"), body);
        }
    }

    fn member(&self, account: &str) -> String {
        format!("serviceAccount:{}", self.email(account))
    }
}

/// The name within the file of the grant of a secret to a service.
fn secret_grant(service: &str, secret: &Secret) -> String {
    format!("{service}_{}", secret.secret.replace('/', "_"))
}
