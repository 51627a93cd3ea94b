//! Topics and subscriptions.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Document, labels, literal};
use infra::topology::{Delivery, Expiry, Push, PushTarget};

impl Document<'_> {
    pub(super) fn topics(&mut self) {
        for topic in &self.topology.topics {
            let body = json!({
                "name": topic.name,
                "labels": labels(&topic.labels),
                "message_retention_duration": topic.retention.map(seconds),
                "depends_on": ["google_project_service.pubsub"],
            });
            let name = self.name("google_pubsub_topic", &topic.name).to_owned();
            self.add("google_pubsub_topic", &name, body);
        }
    }

    pub(super) fn subscriptions(&mut self) {
        for subscription in &self.topology.subscriptions {
            let Delivery { ack_deadline, retention, expiry, retry, dead_letter } = &subscription.delivery;
            // An empty text is "never" here.
            let expiry = expiry.map(|expiry| match expiry {
                Expiry::Never => json!({"ttl": ""}),
                Expiry::After(unused) => json!({"ttl": seconds(unused)}),
            });
            let retry = retry.map(|retry| {
                json!({"minimum_backoff": seconds(retry.min_backoff), "maximum_backoff": seconds(retry.max_backoff)})
            });
            let dead_letter = dead_letter.as_ref().map(|dead_letter| {
                let topic = self.topic(&dead_letter.topic);
                json!({"dead_letter_topic": topic, "max_delivery_attempts": dead_letter.max_attempts})
            });
            let token = self.token_need(subscription.push.as_ref().and_then(|push| push.service_account.as_ref()));
            let body = json!({
                "name": subscription.name,
                "topic": self.topic(&subscription.topic),
                "filter": subscription.filter.as_ref().map(|filter| literal(&filter.to_string())),
                "ack_deadline_seconds": ack_deadline.map(|deadline| deadline.as_secs()),
                "message_retention_duration": retention.map(seconds),
                "expiration_policy": expiry,
                "retry_policy": retry,
                "dead_letter_policy": dead_letter,
                "retain_acked_messages": subscription.retain_acked,
                "enable_message_ordering": subscription.ordering,
                "enable_exactly_once_delivery": subscription.exactly_once,
                "labels": labels(&subscription.labels),
                "push_config": subscription.push.as_ref().map(|push| self.push(push)),
                "depends_on": token.map(|token| [token]),
            });
            let name = self.name("google_pubsub_subscription", &subscription.name).to_owned();
            self.add("google_pubsub_subscription", &name, body);
        }
    }

    fn push(&self, push: &Push) -> Value {
        let (endpoint, audience) = match &push.target {
            PushTarget::Service(service) => {
                let url = self.attribute("google_cloud_run_v2_service", service, "uri");
                // Cloud Run checks that the token is for the service's own address.
                (format!("{url}/"), Some(url))
            }
            PushTarget::Endpoint(endpoint) => (literal(endpoint), None),
        };
        let audience = push.audience.as_deref().map(literal).or(audience);
        let token = push.service_account.as_ref();
        let token = token.map(|account| json!({"service_account_email": self.email(account), "audience": audience}));
        let bare = push.no_wrapper.filter(|bare| *bare);
        json!({
            "push_endpoint": endpoint,
            "oidc_token": token,
            "no_wrapper": bare.map(|_| json!({"write_metadata": push.write_metadata.unwrap_or(true)})),
        })
    }
}

/// As Google writes durations.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
