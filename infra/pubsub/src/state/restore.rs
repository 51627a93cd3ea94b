//! A state from the contents of a store, and the changes that a state records in its journal.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;
use tonic::Status;

use super::{Snapshot, State, Subscription, Topic};
use crate::journal::{Hold, HoldRecorder, Journal, SnapshotRow, SubscriptionRow, TopicRow};
use crate::message::{Message, size_of};
use crate::queue::Queue;
use crate::settings::{is_push, parse_filter, queue_config};
use crate::store::{Contents, Counters};
use crate::time::Time;

/// Bits of an acknowledgement token that count deliveries; those above count the openings of the store, so that tokens
/// of an earlier process are not given out again.
const TOKEN_BITS: u32 = 32;

/// What holds a message.
enum Holder {
    Topic(String),
    Subscription(String),
    Snapshot(String),
}

impl State {
    /// Takes in the contents of a store, with every message deliverable at once, and records every change from now on.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a filter that this version does not read.
    pub(crate) fn restore(&mut self, contents: Contents, journal: &Arc<Journal>) -> Result<(), Status> {
        let Counters { number, uid } = contents.counters;
        (self.last_number, self.last_uid) = (number, uid);
        let mut holders = HashMap::new();
        for TopicRow { uid, settings } in contents.topics {
            let name = settings.name.clone();
            holders.insert(uid, Holder::Topic(name.clone()));
            let (subscriptions, snapshots, kept) = (BTreeSet::new(), BTreeSet::new(), VecDeque::new());
            let topic = Topic { name: name.as_str().into(), uid, settings, subscriptions, snapshots, kept };
            self.topics.insert(name, topic);
        }
        for SubscriptionRow { uid, eventarc, settings } in contents.subscriptions {
            let name = settings.name.clone();
            holders.insert(uid, Holder::Subscription(name.clone()));
            if let Some(topic) = self.topics.get_mut(&settings.topic).filter(|_| !settings.detached) {
                topic.subscriptions.insert(name.clone());
            }
            let mut queue = Queue::new(queue_config(&settings), Arc::clone(&self.usage));
            queue.skip_tokens(contents.opened << TOKEN_BITS);
            let subscription = Subscription {
                name: name.as_str().into(),
                uid,
                filter: parse_filter(&settings.filter)?,
                queue,
                settings,
                eventarc,
                pushing: false,
                backoff_skipped: false,
                wake: Arc::new(Notify::new()),
            };
            self.subscriptions.insert(name, subscription);
        }
        for SnapshotRow { uid, last_number, settings } in contents.snapshots {
            holders.insert(uid, Holder::Snapshot(settings.name.clone()));
            self.add_snapshot(Snapshot { uid, settings, last_number, held: Vec::new() });
        }
        self.policies = contents.policies.into_iter().collect();
        for (number, stored) in contents.messages {
            let message = stored.message;
            let _charge = self.usage.message(size_of(&message.data, &message.attributes, &message.ordering_key));
            let message = Arc::new(Message {
                number,
                data: message.data,
                attributes: message.attributes,
                ordering_key: message.ordering_key,
                publish_time: message.publish_time.as_ref().map(Time::from_proto).unwrap_or_default(),
                _charge,
            });
            for (uid, hold) in stored.holds {
                self.restore_hold(holders.get(&uid), &message, hold);
            }
        }
        for subscription in self.subscriptions.values_mut() {
            subscription.queue.record_into(HoldRecorder { journal: Arc::clone(journal), uid: subscription.uid });
        }
        self.journal = Some(Arc::clone(journal));
        Ok(())
    }

    fn restore_hold(&mut self, holder: Option<&Holder>, message: &Arc<Message>, hold: Hold) {
        match (holder, hold) {
            (Some(Holder::Topic(name)), Hold::Retained) => {
                if let Some(topic) = self.topics.get_mut(name) {
                    topic.kept.push_back(Arc::clone(message));
                }
            }
            (Some(Holder::Snapshot(name)), Hold::Retained) => {
                if let Some(snapshot) = self.snapshots.get_mut(name) {
                    snapshot.held.push(Arc::clone(message));
                }
            }
            (Some(Holder::Subscription(name)), hold) => {
                if let Some(subscription) = self.subscriptions.get_mut(name) {
                    subscription.queue.restore(Arc::clone(message), hold);
                }
            }
            // A store has no such rows: the holds of a resource are removed with it, and the kinds match.
            _ => {}
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters { number: self.last_number, uid: self.last_uid }
    }

    /// Names of all push subscriptions.
    pub(crate) fn push_subscriptions(&self) -> Vec<String> {
        let pushed = self.subscriptions.iter().filter(|(_, subscription)| is_push(&subscription.settings));
        pushed.map(|(name, _)| name.clone()).collect()
    }

    /// Records a topic as it is now, or its removal.
    pub(super) fn record_topic(&self, name: &str) {
        let Some(journal) = &self.journal else { return };
        let row = self.topics.get(name).map(|topic| TopicRow { uid: topic.uid, settings: topic.settings.clone() });
        journal.topic(name, row);
    }

    /// Records a subscription as it is now, or its removal.
    pub(super) fn record_subscription(&self, name: &str) {
        let Some(journal) = &self.journal else { return };
        let row = self.subscriptions.get(name).map(|subscription| SubscriptionRow {
            uid: subscription.uid,
            eventarc: subscription.eventarc,
            settings: Arc::clone(&subscription.settings),
        });
        journal.subscription(name, row);
    }

    /// Records a snapshot as it is now, or its removal.
    pub(super) fn record_snapshot(&self, name: &str) {
        let Some(journal) = &self.journal else { return };
        let row = self.snapshots.get(name).map(|snapshot| SnapshotRow {
            uid: snapshot.uid,
            last_number: snapshot.last_number,
            settings: snapshot.settings.clone(),
        });
        journal.snapshot(name, row);
    }

    /// Records a policy as it is now, or its removal.
    pub(super) fn record_policy(&self, resource: &str) {
        let Some(journal) = &self.journal else { return };
        journal.policy(resource, self.policies.get(resource).cloned());
    }

    /// What the queue of the subscription with this uid records its holds with; `None` without a store.
    pub(super) fn hold_recorder(&self, uid: u64) -> Option<HoldRecorder> {
        Some(HoldRecorder { journal: Arc::clone(self.journal.as_ref()?), uid })
    }
}

impl Topic {
    /// Drops all messages that the topic's retention keeps.
    pub(super) fn drop_kept(&mut self, journal: Option<&Arc<Journal>>) {
        for message in std::mem::take(&mut self.kept) {
            record_released(journal, self.uid, &message);
        }
    }
}

/// Records that a topic does not keep this message any more.
pub(super) fn record_released(journal: Option<&Arc<Journal>>, uid: u64, message: &Message) {
    if let Some(journal) = journal {
        journal.hold(message.number, uid, None);
    }
}
