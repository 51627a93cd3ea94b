//! Service accounts, and who may do what: nothing in the whole project that need not be.

use serde_json::json;

use super::{Document, in_project, literal};
use crate::plan::{CONDITION, objects};
use infra::topology::{Destination, PushTarget};

/// Forwards dead letters for Pub/Sub.
const AGENT: &str = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com";

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
            for (variable, secret) in &service.secrets {
                let body = json!({
                    "secret_id": secret.secret,
                    "role": "roles/secretmanager.secretAccessor",
                    "member": member,
                    "depends_on": ["google_project_service.secretmanager"],
                });
                self.add("google_secret_manager_secret_iam_member", &format!("{name}_{variable}"), body);
            }
        }
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
