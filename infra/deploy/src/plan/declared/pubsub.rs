//! Topics and subscriptions.

use serde_json::{Map, Value, json};

use super::{Declared, put, seconds};
use crate::plan::{Id, Kind, Resource, Target};
use infra::topology::{DeadLetter, Delivery, Expiry, Push, PushTarget, Subscription};

impl Declared<'_> {
    pub(super) fn topics(&self) -> Vec<Resource> {
        let topics = self.topology.topics.iter().map(|topic| {
            let mut body = Map::from_iter([("labels".to_owned(), self.labels(&topic.labels))]);
            put(&mut body, "messageRetentionDuration", topic.retention.map(seconds));
            self.resource(Kind::Topic, self.context.topic(&topic.name), body.into(), Vec::new())
        });
        topics.collect()
    }

    pub(super) fn subscription(&self, subscription: &Subscription) -> Resource {
        let topic = self.context.topic(&subscription.topic);
        let mut body = self.delivery(&subscription.delivery);
        let mut needs = vec![Id::new(Kind::Topic, topic.clone())];
        needs.extend(self.dead_letter_topic(&subscription.delivery));
        put(&mut body, "topic", Some(topic));
        put(&mut body, "labels", Some(self.labels(&subscription.labels)));
        // Which messages come is always declared: a filter that is there and not declared is a difference.
        put(&mut body, "filter", Some(subscription.filter.as_ref().map(ToString::to_string).unwrap_or_default()));
        put(&mut body, "enableMessageOrdering", subscription.ordering);
        put(&mut body, "enableExactlyOnceDelivery", subscription.exactly_once);
        put(&mut body, "retainAckedMessages", subscription.retain_acked);
        let push = match &subscription.push {
            Some(push) => {
                needs.extend(self.push_needs(push));
                self.push(push)
            }
            None => json!({"pushEndpoint": ""}),
        };
        body.insert("pushConfig".to_owned(), push);
        self.resource(Kind::Subscription, self.context.subscription(&subscription.name), body.into(), needs)
    }

    fn push(&self, push: &Push) -> Value {
        let endpoint = match &push.target {
            PushTarget::Service(service) => self.context.url(service),
            PushTarget::Endpoint(endpoint) => endpoint.clone(),
        };
        let mut config = Map::new();
        if let Some(account) = &push.service_account {
            // Spelled out, since Pub/Sub would say the endpoint in any case.
            let audience = push.audience.as_ref().unwrap_or(&endpoint);
            let token = json!({"serviceAccountEmail": self.context.email(account), "audience": audience});
            config.insert("oidcToken".to_owned(), token);
        }
        if push.no_wrapper == Some(true) {
            config.insert("noWrapper".to_owned(), json!({"writeMetadata": push.write_metadata.unwrap_or(true)}));
        }
        put(&mut config, "pushEndpoint", Some(endpoint));
        config.into()
    }

    fn push_needs(&self, push: &Push) -> Vec<Id> {
        let mut needs = self.account_need(push.service_account.as_ref());
        needs.extend(self.token_policy(push.service_account.as_ref()));
        if let PushTarget::Service(service) = &push.target {
            let service = self.context.service(service);
            needs.push(Id::new(Kind::Service, service.clone()));
            needs.push(Id::new(Kind::Policy(Target::Service), service));
        }
        needs
    }

    /// What a subscription and the one of a trigger share.
    pub(super) fn delivery(&self, delivery: &Delivery) -> Map<String, Value> {
        let mut body = Map::new();
        put(&mut body, "ackDeadlineSeconds", delivery.ack_deadline.map(|deadline| deadline.as_secs()));
        put(&mut body, "messageRetentionDuration", delivery.retention.map(seconds));
        put(
            &mut body,
            "expirationPolicy",
            delivery.expiry.map(|expiry| match expiry {
                Expiry::Never => json!({}),
                Expiry::After(ttl) => json!({"ttl": seconds(ttl)}),
            }),
        );
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
}
