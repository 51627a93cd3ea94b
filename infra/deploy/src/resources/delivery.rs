//! How messages are delivered: what a subscription and the one that Eventarc makes for a trigger have in common, the
//! dead-letter policy and its grants among it.

use serde_json::{Map, Value, json};

use super::desired::{Desired, put, seconds, short};
use super::grant::{Grant, PUBLISHER, SUBSCRIBER};
use super::kind::{Id, Kind, Target};
use infra::topology::{DeadLetter, Delivery, Expiry, human};

/// What matters of how messages are delivered.
pub(super) fn delivery_summary(body: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    let filter = body["filter"].as_str().filter(|filter| !filter.is_empty());
    parts.extend(filter.map(|filter| format!("where {filter}")));
    let endpoint = body["pushConfig"]["pushEndpoint"].as_str().filter(|endpoint| !endpoint.is_empty());
    parts.extend(endpoint.map(|endpoint| format!("pushes to {endpoint}")));
    let dead_letter = &body["deadLetterPolicy"];
    if !dead_letter.is_null() {
        let (topic, attempts) = (short(&dead_letter["deadLetterTopic"]), &dead_letter["maxDeliveryAttempts"]);
        parts.push(format!("to {topic} after {attempts} deliveries"));
    }
    let kept = body["messageRetentionDuration"].as_str();
    parts.extend(kept.map(|kept| format!("keeps messages {}", duration(kept))));
    parts
}

/// `604800s` as `7d`.
fn duration(text: &str) -> String {
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    seconds.map_or_else(|| text.to_owned(), human)
}

impl Desired<'_> {
    /// The fields of a declared delivery: ack deadline, retention, expiry, backoff, dead letter.
    pub(super) fn delivery(&self, delivery: &Delivery) -> Map<String, Value> {
        let mut body = Map::new();
        put(&mut body, "ackDeadlineSeconds", delivery.ack_deadline.map(|deadline| deadline.as_secs()));
        put(&mut body, "messageRetentionDuration", delivery.retention.map(seconds));
        let expiry = delivery.expiry.map(|expiry| match expiry {
            Expiry::Never => json!({}),
            Expiry::After(ttl) => json!({"ttl": seconds(ttl)}),
        });
        put(&mut body, "expirationPolicy", expiry);
        let retry = delivery.retry.map(
            |retry| json!({"minimumBackoff": seconds(retry.min_backoff), "maximumBackoff": seconds(retry.max_backoff)}),
        );
        put(&mut body, "retryPolicy", retry);
        let dead_letter = delivery.dead_letter.as_ref().map(|DeadLetter { topic, max_attempts }| {
            json!({"deadLetterTopic": self.context.topic(topic), "maxDeliveryAttempts": max_attempts})
        });
        put(&mut body, "deadLetterPolicy", dead_letter);
        body
    }

    pub(super) fn dead_letter_topic(&self, delivery: &Delivery) -> Option<Id> {
        let dead_letter = delivery.dead_letter.as_ref()?;
        Some(Id::new(Kind::Topic, self.context.topic(&dead_letter.topic)))
    }

    /// Pub/Sub's service agent publishes dead letters, and acknowledges the messages that they are made of.
    pub(super) fn dead_letter_grants(&self, delivery: &Delivery, target: Target, subscription: &str) -> Vec<Grant> {
        let Some(topic) = self.dead_letter_topic(delivery) else { return Vec::new() };
        let agent = self.context.pubsub_agent();
        vec![
            self.grant(Target::Topic, topic.name, PUBLISHER, &agent),
            self.grant(target, subscription.to_owned(), SUBSCRIBER, &agent),
        ]
    }
}
