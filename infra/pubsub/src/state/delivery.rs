//! Messages in, messages out, and what time brings about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tokio::sync::{Notify, broadcast};
use tonic::Status;

use super::restore::note_released;
use super::{AckId, State, Subscription, emit};
use crate::error::invalid;
use crate::event::{Cause, Event, What};
use crate::journal::Hold;
use crate::message::{Message, size_of};
use crate::names::{Kind, project};
use crate::publication;
use crate::queue::{Delivery, Failed, Fate, Load, Want};
use crate::settings::{duration, is_push};
use crate::time::Time;

/// Which acknowledgement ids did what they should, and which are of deliveries that are over.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) done: Vec<String>,
    pub(crate) stale: Vec<String>,
}

/// What a push endpoint made of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ack,
    Nack(Cause),
}

/// What a subscriber gets.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) deliveries: Vec<(AckId, Delivery)>,
    pub(crate) settings: Arc<pb::Subscription>,
    pub(crate) eventarc: bool,
    /// Whether a pause of pushes is over before its time.
    pub(crate) hurried: bool,
}

impl Taken {
    /// In the form of the API. The attempt is told with a dead-letter policy only.
    pub(crate) fn received(&self) -> Vec<pb::ReceivedMessage> {
        let counts = self.settings.dead_letter_policy.is_some();
        let received = self.deliveries.iter().map(|(id, delivery)| pb::ReceivedMessage {
            ack_id: id.to_string(),
            message: Some(delivery.message.to_proto()),
            delivery_attempt: if counts { i32::try_from(delivery.attempt).unwrap_or(i32::MAX) } else { 0 },
        });
        received.collect()
    }
}

impl State {
    /// Puts messages into the queues of the topic's subscriptions; their ids.
    ///
    /// # Errors
    /// NOT_FOUND, INVALID_ARGUMENT, and RESOURCE_EXHAUSTED when the bus is full.
    pub(crate) fn publish(&mut self, now: Time, request: pb::PublishRequest) -> Result<Vec<String>, Status> {
        Kind::Topic.check(&request.topic)?;
        let subscriptions = self.topic(&request.topic)?.subscriptions.len();
        publication::check(&request)?;
        self.check_room(&request, subscriptions)?;
        let publish = |message: pb::PubsubMessage| {
            self.put(now, &request.topic, message.data, message.attributes, message.ordering_key).to_string()
        };
        Ok(request.messages.into_iter().map(publish).collect())
    }

    fn check_room(&self, request: &pb::PublishRequest, subscriptions: usize) -> Result<(), Status> {
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

    /// Its number.
    fn put(
        &mut self,
        now: Time,
        topic: &str,
        data: Bytes,
        attributes: BTreeMap<String, String>,
        ordering_key: String,
    ) -> u64 {
        if self.last_number == 0 {
            // Of a bus that was at this address before, neither message ids nor acknowledgement ids mean anything here.
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
        emit(&self.events, now, &message, || What::Published { topic: Arc::clone(&topic.name) });
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
                emit(&self.events, now, &message, || What::Filtered { subscription: subscription() });
            }
        }
        self.arm_at(due);
        number
    }

    /// What a pull subscription has for this subscriber.
    ///
    /// # Errors
    /// NOT_FOUND; FAILED_PRECONDITION for a push subscription or a detached one.
    pub(crate) fn pull(&mut self, now: Time, name: &str, want: Want) -> Result<Taken, Status> {
        let subscription = self.subscription(name)?;
        if is_push(&subscription.settings) {
            return Err(Status::failed_precondition("This method is not supported for this subscription type."));
        }
        if subscription.settings.detached {
            return Err(Status::failed_precondition("The subscription is detached from its topic."));
        }
        self.take(now, name, want)
    }

    /// What the push subscription with this uid has to send; `None` if it is no more.
    pub(crate) fn take_pushed(&mut self, now: Time, name: &str, uid: u64, want: Want) -> Option<Taken> {
        let subscription = self.subscriptions.get_mut(name).filter(|subscription| subscription.uid == uid)?;
        if !is_push(&subscription.settings) || subscription.settings.detached {
            subscription.pushing = false;
            return None;
        }
        self.take(now, name, want).ok()
    }

    fn take(&mut self, now: Time, name: &str, want: Want) -> Result<Taken, Status> {
        if self.subscription(name)?.queue.due() <= now {
            self.tick_subscription(now, name);
        }
        let events = self.events.clone();
        let subscription = self.subscription_mut(name)?;
        let uid = subscription.uid;
        let mut deliveries = Vec::new();
        for delivery in subscription.queue.take(now, want) {
            let attempt = delivery.attempt;
            emit(&events, now, &delivery.message, || What::Delivered {
                subscription: Arc::clone(&subscription.name),
                attempt,
            });
            deliveries.push((AckId { uid, number: delivery.message.number, token: delivery.token }, delivery));
        }
        let hurried = std::mem::take(&mut subscription.hurried);
        let (settings, eventarc) = (Arc::clone(&subscription.settings), subscription.eventarc);
        let taken = Taken { deliveries, settings, eventarc, hurried };
        self.arm(name);
        Ok(taken)
    }

    /// Acknowledges deliveries.
    ///
    /// # Errors
    /// NOT_FOUND; INVALID_ARGUMENT for what is no acknowledgement id.
    pub(crate) fn acknowledge(&mut self, now: Time, name: &str, ack_ids: Vec<String>) -> Result<Settled, Status> {
        self.settle(name, ack_ids, |subscription, events, id| {
            let Some(message) = subscription.queue.acknowledge(now, id.number, id.token).map_err(drop)? else {
                return Ok(None);
            };
            emit(events, now, &message, || What::Acked { subscription: Arc::clone(&subscription.name) });
            Ok(None)
        })
        .map(|(settled, _)| settled)
    }

    /// Gives deliveries this much time from now on; none at all is a refusal.
    ///
    /// # Errors
    /// As [`State::acknowledge`].
    pub(crate) fn modify_ack_deadline(
        &mut self,
        now: Time,
        name: &str,
        ack_ids: Vec<String>,
        lease: Duration,
    ) -> Result<Settled, Status> {
        let forward = self.can_forward(name);
        let (settled, dead) = self.settle(name, ack_ids, |subscription, events, id| {
            if !lease.is_zero() {
                return subscription.queue.extend(now, id.number, id.token, lease).map(|()| None).map_err(drop);
            }
            let fate = subscription.queue.refuse(now, id.number, id.token, forward).map_err(drop)?;
            Ok(fate.and_then(|fate| refused(subscription, events, now, fate, Cause::Subscriber)))
        })?;
        self.forward(now, name, dead);
        Ok(settled)
    }

    /// Ends a delivery of a push subscription.
    pub(crate) fn answer(&mut self, now: Time, name: &str, id: AckId, answer: Answer) {
        let forward = self.can_forward(name);
        let events = self.events.clone();
        let Some(subscription) = self.subscriptions.get_mut(name).filter(|subscription| subscription.uid == id.uid)
        else {
            return;
        };
        let mut dead = None;
        match answer {
            Answer::Ack => {
                if let Ok(Some(message)) = subscription.queue.acknowledge(now, id.number, id.token) {
                    emit(&events, now, &message, || What::Acked { subscription: Arc::clone(&subscription.name) });
                }
            }
            Answer::Nack(cause) => {
                if let Ok(Some(fate)) = subscription.queue.refuse(now, id.number, id.token, forward) {
                    dead = refused(subscription, &events, now, fate, cause);
                }
            }
        }
        self.forward(now, name, dead.into_iter().collect());
        self.arm(name);
    }

    /// Every id through `each`, which gives a message to forward, or an error for a delivery that is over.
    fn settle(
        &mut self,
        name: &str,
        ack_ids: Vec<String>,
        mut each: impl FnMut(&mut Subscription, &broadcast::Sender<Event>, AckId) -> Result<Option<Failed>, ()>,
    ) -> Result<(Settled, Vec<Failed>), Status> {
        Kind::Subscription.check(name)?;
        let events = self.events.clone();
        let subscription = self.subscription_mut(name)?;
        if ack_ids.is_empty() {
            return Err(invalid("No ack ids specified."));
        }
        let ids: Vec<AckId> = ack_ids.iter().map(|text| AckId::parse(text)).collect::<Result<_, _>>()?;
        let (mut settled, mut dead) = (Settled::default(), Vec::new());
        for (id, text) in ids.into_iter().zip(ack_ids) {
            // One of a subscription of the same name that was deleted is as good as one of a delivery that is over.
            let result = if id.uid == subscription.uid {
                each(subscription, &events, id)
            } else if subscription.queue.rules().exactly_once {
                Err(())
            } else {
                Ok(None)
            };
            match result {
                Ok(failed) => {
                    dead.extend(failed);
                    settled.done.push(text);
                }
                Err(()) => settled.stale.push(text),
            }
        }
        subscription.wake.notify_waiters();
        self.arm(name);
        Ok((settled, dead))
    }

    /// Ends every wait for a next attempt.
    pub(crate) fn hurry(&mut self, name: &str) -> Result<(), Status> {
        let subscription = self.subscription_mut(name)?;
        subscription.queue.hurry();
        subscription.hurried = true;
        subscription.wake.notify_waiters();
        Ok(())
    }

    /// What a subscriber holds.
    pub(crate) fn load(&self, name: &str, holder: u64) -> Load {
        self.subscriptions.get(name).map(|subscription| subscription.queue.load(holder)).unwrap_or_default()
    }

    /// Whether the acknowledgements of a subscription are promises.
    pub(crate) fn exactly_once(&self, name: &str) -> bool {
        self.subscriptions.get(name).is_some_and(|subscription| subscription.queue.rules().exactly_once)
    }

    /// How many messages of a subscription are not acknowledged.
    pub(crate) fn backlog(&self, name: &str) -> Option<usize> {
        Some(self.subscriptions.get(name)?.queue.len())
    }

    /// What is notified when a subscription may have something to take or to learn.
    pub(crate) fn wake(&self, name: &str) -> Result<Arc<Notify>, Status> {
        Kind::Subscription.check(name)?;
        Ok(Arc::clone(&self.subscription(name)?.wake))
    }

    /// Does what is due, and says when to be called next; earlier if told through `alarm_changed`.
    pub(crate) fn tick(&mut self, now: Time) -> Time {
        let due: Vec<String> = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| subscription.queue.due() <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.tick_subscription(now, &name);
        }
        let mut next = self.expire_snapshots(now);
        for topic in self.topics.values_mut() {
            let retention = duration(topic.settings.message_retention_duration.as_ref());
            while topic.kept.front().is_some_and(|message| message.publish_time.after(retention) <= now) {
                if let Some(message) = topic.kept.pop_front() {
                    note_released(self.journal.as_ref(), topic.uid, &message);
                }
            }
            next = next.min(topic.kept.front().map_or(Time::NEVER, |message| message.publish_time.after(retention)));
        }
        for subscription in self.subscriptions.values() {
            next = next.min(subscription.queue.due());
        }
        self.alarm = next;
        next
    }

    fn tick_subscription(&mut self, now: Time, name: &str) {
        let forward = self.can_forward(name);
        let events = self.events.clone();
        let Some(subscription) = self.subscriptions.get_mut(name) else { return };
        let passed = subscription.queue.tick(now, forward);
        let mut dead = Vec::new();
        for fate in passed.expired {
            let message = match &fate {
                Fate::Again(message) => message,
                Fate::DeadLetter(failed) => &failed.message,
            };
            emit(&events, now, message, || What::Expired { subscription: Arc::clone(&subscription.name) });
            if let Fate::DeadLetter(failed) = fate {
                dead.push(failed);
            }
        }
        for message in passed.discarded {
            emit(&events, now, &message, || What::Discarded { subscription: Arc::clone(&subscription.name) });
        }
        // Also without messages: what a subscriber holds may have become less.
        subscription.wake.notify_waiters();
        self.forward(now, name, dead);
    }

    /// Whether the subscription has a dead-letter topic that is there.
    fn can_forward(&self, name: &str) -> bool {
        let policy = self.subscriptions.get(name).and_then(|s| s.settings.dead_letter_policy.as_ref());
        policy.is_some_and(|policy| self.topics.contains_key(&policy.dead_letter_topic))
    }

    /// Publishes messages that have left a subscription's queue to its dead-letter topic, with where they come from.
    fn forward(&mut self, now: Time, name: &str, dead: Vec<Failed>) {
        let Some(subscription) = self.subscriptions.get(name) else { return };
        let Some(policy) = &subscription.settings.dead_letter_policy else { return };
        let (source, topic) = (Arc::clone(&subscription.name), policy.dead_letter_topic.clone());
        for Failed { message, failures } in dead {
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
            self.emit(now, &message, || What::DeadLettered {
                subscription: Arc::clone(&source),
                topic: topic.as_str().into(),
                attempts: failures,
            });
            self.put(now, &topic, message.data.clone(), attributes, message.ordering_key.clone());
        }
    }
}

impl Subscription {
    pub(super) fn passes(&self, message: &Message) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(&message.attributes))
    }
}

/// Tells of a refusal; the message, if it has to be forwarded.
fn refused(
    subscription: &Subscription,
    events: &broadcast::Sender<Event>,
    now: Time,
    fate: Fate,
    cause: Cause,
) -> Option<Failed> {
    let (message, dead) = match fate {
        Fate::Again(message) => (message, None),
        Fate::DeadLetter(failed) => (Arc::clone(&failed.message), Some(failed)),
    };
    emit(events, now, &message, || What::Nacked { subscription: Arc::clone(&subscription.name), cause });
    dead
}
