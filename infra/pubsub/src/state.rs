//! Topics, subscriptions, snapshots and messages: everything that the local Pub/Sub keeps. Synchronous and without I/O;
//! every method gets the time.
//!
//! # Layout
//!
//! - `topics`, `subscriptions`, `snapshots`: created, changed, listed, deleted; `policies`: their IAM policies
//! - `publish`: messages in, dead letters too; `pull`: messages out; `settle`: acknowledgements and nacks;
//!   `seek`: messages again; `timers`: what happens when time passes
//! - `delivery`, `ack_id`: what passes between the state and its subscribers
//! - `restore`: a state from a store, and what the state records for it

mod ack_id;
pub(super) mod delivery;
mod policies;
mod publish;
mod pull;
mod restore;
mod seek;
mod settle;
mod snapshots;
mod subscriptions;
#[cfg(test)]
mod tests;
mod timers;
mod topics;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tokio::sync::{Notify, broadcast};
use tonic::Status;

use super::error::{invalid, not_found, out_of_bounds};
use super::event::{Event, EventKind};
use super::journal::Journal;
use super::limits::Limits;
use super::message::{Message, Usage};
use super::queue::Queue;
use super::time::Time;
use infra::filter::Filter;

pub(super) use ack_id::AckId;

/// The most topics, the most subscriptions, and the most snapshots.
const MAX_RESOURCES: usize = 10_000;
const MAX_PAGE_SIZE: usize = 1000;

#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    usage: Arc<Usage>,
    topics: BTreeMap<String, Topic>,
    subscriptions: BTreeMap<String, Subscription>,
    snapshots: BTreeMap<String, Snapshot>,
    /// By the full name of the resource; policies that were never set are not here.
    policies: BTreeMap<String, iam::Policy>,
    /// The number of the last message.
    last_number: u64,
    /// The uid of the last topic, subscription or snapshot.
    last_uid: u64,
    events: broadcast::Sender<Event>,
    /// When the owner of the state is going to call [`State::tick`].
    alarm: Time,
    alarm_changed: Arc<Notify>,
    /// Where changes are recorded for the store, if there is one.
    journal: Option<Arc<Journal>>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// No other topic, subscription or snapshot has or had this number, not even a deleted one of the same name.
    uid: u64,
    settings: pb::Topic,
    subscriptions: BTreeSet<String>,
    snapshots: BTreeSet<String>,
    /// Messages that the topic's own retention keeps, oldest first.
    kept: VecDeque<Arc<Message>>,
}

#[derive(Debug)]
struct Subscription {
    name: Arc<str>,
    /// As [`Topic::uid`].
    uid: u64,
    settings: Arc<pb::Subscription>,
    filter: Option<Filter>,
    queue: Queue,
    /// Pushes have the form of an Eventarc trigger.
    eventarc: bool,
    /// A task pushes its messages.
    pushing: bool,
    /// The pushing task is to end its pause.
    backoff_skipped: bool,
    /// Notified when there may be messages to take or changed settings to follow.
    wake: Arc<Notify>,
}

/// Which messages of a subscription were not acknowledged at one moment.
#[derive(Debug)]
struct Snapshot {
    /// As [`Topic::uid`].
    uid: u64,
    settings: pb::Snapshot,
    /// The number of the last message that was published before the snapshot.
    last_number: u64,
    /// The messages that were not acknowledged, then all that the topic took later: by number, ascending.
    held: Vec<Arc<Message>>,
}

impl State {
    /// An empty state. `alarm_changed` is notified when [`State::tick`] has to be called earlier than it said last.
    pub(super) fn new(limits: Limits, events: broadcast::Sender<Event>, alarm_changed: Arc<Notify>) -> Self {
        Self {
            limits,
            usage: Arc::default(),
            topics: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            policies: BTreeMap::new(),
            last_number: 0,
            last_uid: 0,
            events,
            alarm: Time::NEVER,
            alarm_changed,
            journal: None,
        }
    }

    fn topic(&self, name: &str) -> Result<&Topic, Status> {
        self.topics.get(name).ok_or_else(|| not_found(name))
    }

    fn subscription(&self, name: &str) -> Result<&Subscription, Status> {
        self.subscriptions.get(name).ok_or_else(|| not_found(name))
    }

    fn subscription_mut(&mut self, name: &str) -> Result<&mut Subscription, Status> {
        self.subscriptions.get_mut(name).ok_or_else(|| not_found(name))
    }

    /// Has [`State::tick`] called in time for this subscription.
    fn arm(&mut self, subscription: &str) {
        let Some(subscription) = self.subscriptions.get(subscription) else { return };
        let due = subscription.queue.due();
        self.arm_at(due);
    }

    fn arm_at(&mut self, due: Time) {
        if due < self.alarm {
            self.alarm = due;
            self.alarm_changed.notify_one();
        }
    }
}

impl Subscription {
    fn passes(&self, message: &Message) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(&message.attributes))
    }
}

fn emit(events: &broadcast::Sender<Event>, time: Time, message: &Arc<Message>, kind: impl FnOnce() -> EventKind) {
    if events.receiver_count() > 0 {
        // An error says that the last receiver has just gone.
        let _ = events.send(Event { time, message: Arc::clone(message), kind: kind() });
    }
}

/// One page of a list, and the token of the next page: empty at the end.
///
/// `page_size` 0 is the largest page. A token is the last name of the page before.
fn page<T>(
    items: impl Iterator<Item = (String, T)>,
    page_size: i32,
    page_token: &str,
) -> Result<(Vec<T>, String), Status> {
    let size = match usize::try_from(page_size) {
        Ok(0) => MAX_PAGE_SIZE,
        Ok(size) => size.min(MAX_PAGE_SIZE),
        Err(_) => return Err(out_of_bounds("page_size", page_size, "0 to 1000")),
    };
    if !page_token.is_empty() && !page_token.starts_with("projects/") {
        return Err(invalid(format!(
            "Invalid page token given (page_token={page_token}): pass the one of the last page."
        )));
    }
    let mut items = items.skip_while(|(name, _)| name.as_str() <= page_token).peekable();
    let mut taken = Vec::new();
    let mut last = String::new();
    while taken.len() < size {
        let Some((name, item)) = items.next() else { break };
        taken.push(item);
        last = name;
    }
    Ok((taken, if items.peek().is_some() { last } else { String::new() }))
}
