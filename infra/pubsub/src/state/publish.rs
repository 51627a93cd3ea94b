//! Messages in: published, and forwarded as dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tonic::Status;

use super::{State, emit};
use crate::event::EventKind;
use crate::journal::Hold;
use crate::message::{Message, size_of};
use crate::names::{Kind, project};
use crate::publish_request;
use crate::queue::FailedMessage;
use crate::settings::duration;
use crate::time::Time;

impl State {
    /// Puts messages into the queues of the topic's subscriptions; returns their ids.
    ///
    /// # Errors
    /// NOT_FOUND, INVALID_ARGUMENT, and RESOURCE_EXHAUSTED when the limits of memory are reached.
    pub(crate) fn publish(&mut self, now: Time, request: pb::PublishRequest) -> Result<Vec<String>, Status> {
        Kind::Topic.check(&request.topic)?;
        let subscriptions = self.topic(&request.topic)?.subscriptions.len();
        publish_request::check(&request)?;
        self.check_capacity(&request, subscriptions)?;
        let publish = |message: pb::PubsubMessage| {
            self.put(now, &request.topic, message.data, message.attributes, message.ordering_key).to_string()
        };
        Ok(request.messages.into_iter().map(publish).collect())
    }

    fn check_capacity(&self, request: &pb::PublishRequest, subscriptions: usize) -> Result<(), Status> {
        let size = |message: &pb::PubsubMessage| size_of(&message.data, &message.attributes, &message.ordering_key);
        let bytes: usize = request.messages.iter().map(size).sum();
        let deliveries = request.messages.len() * subscriptions;
        let full = |what: &str, most: usize| {
            Err(Status::resource_exhausted(format!(
                "This local Pub/Sub is full: it keeps at most {most} {what}. Acknowledge messages, delete \
                 snapshots, or raise the limit."
            )))
        };
        if self.usage.bytes() + bytes > self.limits.bytes {
            return full("bytes of messages", self.limits.bytes);
        }
        if self.usage.deliveries() + deliveries > self.limits.messages {
            return full("messages", self.limits.messages);
        }
        Ok(())
    }

    /// Stores one message and hands it to the topic's snapshots and subscriptions; returns its number.
    fn put(
        &mut self,
        now: Time,
        topic: &str,
        data: Bytes,
        attributes: BTreeMap<String, String>,
        ordering_key: String,
    ) -> u64 {
        if self.last_number == 0 {
            // Numbers begin at the time, so that message ids and acknowledgement ids of another local Pub/Sub that had
            // this address before name nothing here.
            self.last_number = now.as_micros();
        }
        self.last_number += 1;
        let number = self.last_number;
        let _charge = self.usage.message(size_of(&data, &attributes, &ordering_key));
        let publish_time = now.in_millis();
        let message = Arc::new(Message { number, data, attributes, ordering_key, publish_time, _charge });
        let Some(topic) = self.topics.get_mut(topic) else { return number };
        if let Some(journal) = &self.journal {
            journal.message(&message);
        }
        emit(&self.events, now, &message, || EventKind::Published { topic: Arc::clone(&topic.name) });
        let mut due = Time::NEVER;
        if let Some(retention) = &topic.settings.message_retention_duration {
            topic.kept.push_back(Arc::clone(&message));
            if let Some(journal) = &self.journal {
                journal.hold(number, topic.uid, Some(Hold::Retained));
            }
            due = publish_time.after(duration(Some(retention)));
        }
        for name in &topic.snapshots {
            if let Some(snapshot) = self.snapshots.get_mut(name) {
                snapshot.hold(&message, self.journal.as_ref());
            }
        }
        for name in &topic.subscriptions {
            let Some(subscription) = self.subscriptions.get_mut(name) else { continue };
            if subscription.passes(&message) {
                subscription.queue.push(Arc::clone(&message));
                subscription.wake.notify_waiters();
                due = due.min(subscription.queue.due());
            } else {
                let subscription = || Arc::clone(&subscription.name);
                emit(&self.events, now, &message, || EventKind::Filtered { subscription: subscription() });
            }
        }
        self.arm_at(due);
        number
    }

    /// Whether the subscription has a dead-letter topic that exists. Without one, its messages are redelivered without
    /// end.
    pub(super) fn can_forward(&self, name: &str) -> bool {
        let policy = self.subscriptions.get(name).and_then(|s| s.settings.dead_letter_policy.as_ref());
        policy.is_some_and(|policy| self.topics.contains_key(&policy.dead_letter_topic))
    }

    /// Publishes messages that have left a subscription's queue to its dead-letter topic, with attributes that name
    /// their source: <https://cloud.google.com/pubsub/docs/handling-failures>.
    pub(super) fn forward(&mut self, now: Time, name: &str, dead: Vec<FailedMessage>) {
        let Some(subscription) = self.subscriptions.get(name) else { return };
        let Some(policy) = &subscription.settings.dead_letter_policy else { return };
        let (source, topic) = (Arc::clone(&subscription.name), policy.dead_letter_topic.clone());
        for FailedMessage { message, failures } in dead {
            let mut attributes = message.attributes.clone();
            let id = name.rsplit('/').next().unwrap_or_default();
            for (key, value) in [
                ("DeliveryCount", failures.to_string()),
                ("Subscription", id.to_owned()),
                ("SubscriptionProject", project(name).to_owned()),
                ("TopicPublishTime", message.publish_time.to_rfc3339()),
            ] {
                attributes.insert(format!("CloudPubSubDeadLetterSource{key}"), value);
            }
            emit(&self.events, now, &message, || EventKind::DeadLettered {
                subscription: Arc::clone(&source),
                topic: topic.as_str().into(),
                attempts: failures,
            });
            self.put(now, &topic, message.data.clone(), attributes, message.ordering_key.clone());
        }
    }
}
