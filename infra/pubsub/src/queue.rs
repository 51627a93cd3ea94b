//! The messages that one subscription holds: which subscriber has which, until when, and which is delivered next.
//!
//! Pure: every method gets the time, and nothing happens between two calls. Sources: "Handle message failures", "Lease
//! management", "Order messages" and "Exactly-once delivery" of <https://cloud.google.com/pubsub/docs>.
//!
//! Every message is in one [`DeliveryState`]. The crate page has a picture of the states under "How a message is
//! delivered"; in words: without an ordering key a message goes `Ready` → `Leased` → removed or, when its delivery fails,
//! back to `Ready`, through `Delayed` if there is a backoff. With an ordering key (and ordering on), the messages behind
//! the key's current run are `Waiting`, and a message of the run that is acknowledged before an earlier one is kept as
//! `Acked`, since a failure of the earlier one brings it back.
//!
//! Invariant: the indices `ready`, `delayed` and `leases`, and the sums in `outstanding`, say the same as the states of
//! `entries`. Only `transition` changes a state, and it keeps them in step.
//!
//! # Layout
//!
//! - `config`: a subscription's settings as the queue reads them; `delivery`: what goes in and out
//! - `settle`: how deliveries end; `timers`: what happens when time passes
//! - `transition`: states and their indices; `ordering`: the order within one key

mod config;
mod delivery;
mod ordering;
mod settle;
#[cfg(test)]
mod tests;
mod timers;
mod transition;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::journal::{Hold, HoldRecorder};
use super::message::{Charge, Message, Usage};
use super::time::Time;
pub(super) use config::{Backoff, QueueConfig};
pub(super) use delivery::{Delivery, FailedMessage, NackOutcome, Outstanding, PullRequest};
use ordering::KeyOrder;

/// One message of the queue.
#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    /// Deliveries that were nacked or not acknowledged in time.
    failures: u32,
    /// Names the latest delivery in its acknowledgement id; 0 before the first.
    token: u64,
    /// End of the backoff after the latest failure.
    not_before: Time,
    state: DeliveryState,
    _charge: Charge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeliveryState {
    /// Behind other messages of its ordering key.
    Waiting,
    /// Can be delivered.
    Ready,
    /// In backoff after a failed delivery.
    Delayed,
    /// Delivered, and not acknowledged yet.
    Leased { until: Time, subscriber: u64 },
    /// Acknowledged, but an earlier message of the same ordering key is not.
    Acked,
}

/// The messages of one subscription, by number; numbers ascend in the order of publishing.
#[derive(Debug)]
pub(super) struct Queue {
    config: QueueConfig,
    usage: Arc<Usage>,
    entries: BTreeMap<u64, Entry>,
    /// Indices of `entries` by state.
    ready: BTreeSet<u64>,
    delayed: BTreeSet<(Time, u64)>,
    leases: BTreeSet<(Time, u64)>,
    /// The order of every ordering key that has messages here.
    keys: HashMap<String, KeyOrder>,
    /// What each subscriber holds.
    outstanding: HashMap<u64, Outstanding>,
    /// Acknowledged messages that are kept for a seek.
    acked: BTreeMap<u64, (Arc<Message>, Charge)>,
    last_token: u64,
    recorder: Option<HoldRecorder>,
}

impl Queue {
    pub(super) fn new(config: QueueConfig, usage: Arc<Usage>) -> Self {
        Self {
            config,
            usage,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            leases: BTreeSet::new(),
            keys: HashMap::new(),
            outstanding: HashMap::new(),
            acked: BTreeMap::new(),
            last_token: 0,
            recorder: None,
        }
    }

    /// Records every change from now on, but nothing of what the queue holds already.
    pub(super) fn record_into(&mut self, recorder: HoldRecorder) {
        self.recorder = Some(recorder);
    }

    /// Gives out only tokens above this one, so that acknowledgement ids of an earlier process name nothing here.
    pub(super) fn skip_tokens(&mut self, token: u64) {
        self.last_token = self.last_token.max(token);
    }

    /// Takes in a message that the store kept; call it for the oldest first.
    pub(super) fn restore(&mut self, message: Arc<Message>, hold: Hold) {
        let number = message.number;
        match hold {
            Hold::Unacked { failures } => {
                self.push(message);
                if let Some(entry) = self.entries.get_mut(&number) {
                    entry.failures = failures;
                }
            }
            Hold::Acked | Hold::Retained => {
                self.acked.insert(number, (message, self.usage.delivery()));
            }
        }
    }

    /// Records that the queue, which is about to be dropped, holds nothing any more.
    pub(super) fn record_removal(&self) {
        for &number in self.entries.keys().chain(self.acked.keys()) {
            self.record(number, None);
        }
    }

    pub(super) fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// Applies changed settings of the subscription. Ordering cannot change, as in the service.
    pub(super) fn set_config(&mut self, config: QueueConfig) {
        self.config = QueueConfig { ordered: self.config.ordered, ..config };
        if !self.config.retain_acked {
            for number in std::mem::take(&mut self.acked).into_keys() {
                self.record(number, None);
            }
        }
    }

    /// Adds a message. After a seek it may be older than those that are here.
    pub(super) fn push(&mut self, message: Arc<Message>) {
        let number = message.number;
        if self.entries.contains_key(&number) {
            return;
        }
        self.acked.remove(&number);
        let key = self.is_ordered(&message).then(|| message.ordering_key.clone());
        let _charge = self.usage.delivery();
        let (not_before, state) = (Time::default(), DeliveryState::Waiting);
        self.entries.insert(number, Entry { message, failures: 0, token: 0, not_before, state, _charge });
        self.record(number, Some(Hold::Unacked { failures: 0 }));
        match key {
            Some(key) => {
                let order = self.keys.entry(key.clone()).or_default();
                if let Some(former_head) = order.add(number) {
                    // A seek brought back an older message of the key: it goes first.
                    self.transition(former_head, DeliveryState::Waiting);
                }
                self.schedule_key(&key);
            }
            None => self.schedule(number),
        }
    }

    /// Leases ready messages to a subscriber, oldest first, within the bounds of its request.
    pub(super) fn take(&mut self, now: Time, pull: PullRequest) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let mut bytes_left = pull.max_bytes;
        while taken.len() < pull.max_messages {
            let Some(&number) = self.ready.first() else { break };
            if !self.fits(number, bytes_left, taken.is_empty()) {
                break;
            }
            self.ready.remove(&number);
            let key = match self.entries.get(&number) {
                Some(entry) if self.is_ordered(&entry.message) => Some(entry.message.ordering_key.clone()),
                _ => None,
            };
            taken.extend(self.lease(now, number, pull, &mut bytes_left));
            let Some(key) = key else { continue };
            self.begin_run(&key, number);
            // Messages of one key are ready one at a time. The run goes on with those behind the first.
            while pull.many_per_key && taken.len() < pull.max_messages {
                let Some(next) = self.keys.get(&key).and_then(KeyOrder::next_of_run) else { break };
                let due = self.entries.get(&next).is_some_and(|entry| entry.not_before <= now);
                if !due || !self.fits(next, bytes_left, false) {
                    break;
                }
                taken.extend(self.lease(now, next, pull, &mut bytes_left));
                self.begin_run(&key, next);
            }
        }
        taken
    }

    /// Makes messages acknowledged or not, as `unacked` says: those of the queue, and acknowledged ones that it kept.
    pub(super) fn seek(&mut self, unacked: impl Fn(&Message) -> bool) {
        let passed = self.entries.values().filter(|entry| !unacked(&entry.message));
        let passed: Vec<u64> = passed.map(|entry| entry.message.number).collect();
        for number in passed {
            let key = self.entries.get(&number).map(|entry| entry.message.ordering_key.clone());
            self.remove_acked(number);
            self.schedule_key(&key.unwrap_or_default());
        }
        let again = self.acked.values().filter(|(message, _)| unacked(message));
        let again: Vec<Arc<Message>> = again.map(|(message, _)| Arc::clone(message)).collect();
        for message in again {
            self.push(message);
        }
    }

    /// What this subscriber holds.
    pub(super) fn outstanding(&self, subscriber: u64) -> Outstanding {
        self.outstanding.get(&subscriber).copied().unwrap_or_default()
    }

    /// The messages that are not acknowledged, by number.
    pub(super) fn unacked(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.entries.values().map(|entry| &entry.message)
    }

    /// How many messages are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_ordered(&self, message: &Message) -> bool {
        self.config.ordered && !message.ordering_key.is_empty()
    }

    /// The first message of a pull is delivered even if it is larger than the request allows.
    fn fits(&self, number: u64, bytes_left: usize, first: bool) -> bool {
        first || self.entries.get(&number).is_some_and(|entry| entry.message.size() <= bytes_left)
    }

    fn lease(&mut self, now: Time, number: u64, pull: PullRequest, bytes_left: &mut usize) -> Option<Delivery> {
        self.last_token += 1;
        let token = self.last_token;
        let entry = self.entries.get_mut(&number)?;
        entry.token = token;
        *bytes_left = bytes_left.saturating_sub(entry.message.size());
        let delivery = Delivery { message: Arc::clone(&entry.message), token, attempt: entry.failures + 1 };
        let lease = pull.lease.unwrap_or(self.config.ack_deadline);
        self.transition(number, DeliveryState::Leased { until: now.after(lease), subscriber: pull.subscriber });
        Some(delivery)
    }

    fn begin_run(&mut self, key: &str, number: u64) {
        if let Some(order) = self.keys.get_mut(key) {
            order.mark_outstanding(number);
        }
    }

    fn record(&self, number: u64, hold: Option<Hold>) {
        if let Some(recorder) = &self.recorder {
            recorder.hold(number, hold);
        }
    }
}
