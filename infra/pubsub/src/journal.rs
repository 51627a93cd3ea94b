//! The changes since the store was last written: gathered in memory, one row for each resource or message however often
//! it changed.
//!
//! The state records its changes under its own lock, and the writer takes all of them at once under that same lock, so
//! that every batch is the state of one moment. A request that must not be answered before its change is on disk takes
//! the number of the batch that the change is in, and waits for that batch. Many requests share one write.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tokio::sync::watch;
use tonic::Status;

use super::message::Message;

/// How long changes that no request waits for are gathered before they are written.
const WRITE_DELAY: Duration = Duration::from_millis(50);

/// Why a topic, a subscription or a snapshot holds a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Not acknowledged, after this many failed deliveries.
    Unacked { failures: u32 },
    /// Acknowledged, and kept by the subscription for a seek.
    Acked,
    /// Kept by the topic's retention, or by the snapshot.
    Retained,
}

#[derive(Clone, Debug)]
pub(super) struct TopicRow {
    pub(super) uid: u64,
    pub(super) settings: pb::Topic,
}

#[derive(Clone, Debug)]
pub(super) struct SubscriptionRow {
    pub(super) uid: u64,
    pub(super) eventarc: bool,
    pub(super) settings: Arc<pb::Subscription>,
}

#[derive(Clone, Debug)]
pub(super) struct SnapshotRow {
    pub(super) uid: u64,
    /// The number of the last message before the snapshot.
    pub(super) last_number: u64,
    pub(super) settings: pb::Snapshot,
}

/// New rows; `None` removes one.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) topics: BTreeMap<String, Option<TopicRow>>,
    pub(super) subscriptions: BTreeMap<String, Option<SubscriptionRow>>,
    pub(super) snapshots: BTreeMap<String, Option<SnapshotRow>>,
    pub(super) policies: BTreeMap<String, Option<iam::Policy>>,
    /// Messages that are not in the store yet, by number.
    pub(super) messages: BTreeMap<u64, Arc<Message>>,
    /// By the message's number and the uid of the topic, subscription or snapshot that holds it.
    pub(super) holds: BTreeMap<(u64, u64), Option<Hold>>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        let Self { topics, subscriptions, snapshots, policies, messages, holds } = self;
        topics.is_empty()
            && subscriptions.is_empty()
            && snapshots.is_empty()
            && policies.is_empty()
            && messages.is_empty()
            && holds.is_empty()
    }
}

#[derive(Debug)]
struct Pending {
    changes: Changes,
    /// The number of the batch that `changes` will be.
    batch: u64,
    /// A request waits for this batch.
    urgent: bool,
    closing: bool,
    /// Nothing is written any more, and nothing recorded.
    ended: bool,
}

#[derive(Debug, Default)]
struct Written {
    batch: u64,
    ended: Option<Status>,
}

/// The changes that are not written yet, and the number of the last batch that is.
#[derive(Debug)]
pub(super) struct Journal {
    pending: Mutex<Pending>,
    changed: Condvar,
    written: watch::Sender<Written>,
}

impl Journal {
    pub(super) fn new() -> Self {
        let pending = Pending { changes: Changes::default(), batch: 1, urgent: false, closing: false, ended: false };
        Self { pending: Mutex::new(pending), changed: Condvar::new(), written: watch::Sender::default() }
    }

    pub(super) fn topic(&self, name: &str, row: Option<TopicRow>) {
        self.record(|changes| drop(changes.topics.insert(name.to_owned(), row)));
    }

    pub(super) fn subscription(&self, name: &str, row: Option<SubscriptionRow>) {
        self.record(|changes| drop(changes.subscriptions.insert(name.to_owned(), row)));
    }

    pub(super) fn snapshot(&self, name: &str, row: Option<SnapshotRow>) {
        self.record(|changes| drop(changes.snapshots.insert(name.to_owned(), row)));
    }

    pub(super) fn policy(&self, resource: &str, policy: Option<iam::Policy>) {
        self.record(|changes| drop(changes.policies.insert(resource.to_owned(), policy)));
    }

    pub(super) fn message(&self, message: &Arc<Message>) {
        self.record(|changes| drop(changes.messages.insert(message.number, Arc::clone(message))));
    }

    pub(super) fn hold(&self, number: u64, uid: u64, hold: Option<Hold>) {
        self.record(|changes| {
            changes.holds.insert((number, uid), hold);
        });
    }

    /// The number of the batch with everything recorded so far. Has the writer write it without delay.
    pub(super) fn flush_batch(&self) -> u64 {
        let mut pending = self.pending();
        if pending.changes.is_empty() {
            return pending.batch - 1;
        }
        pending.urgent = true;
        self.changed.notify_one();
        pending.batch
    }

    /// Waits until this batch is written.
    ///
    /// # Errors
    /// When it never will be.
    pub(super) async fn wait_written(&self, batch: u64) -> Result<(), Status> {
        let mut written = self.written.subscribe();
        let written = written.wait_for(|written| written.batch >= batch || written.ended.is_some()).await;
        // The sender is this journal's own, so there is no error here.
        let Ok(written) = written else { return Err(shutting_down()) };
        match &written.ended {
            Some(status) if written.batch < batch => Err(status.clone()),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// When nothing is written any more.
    pub(super) fn check(&self) -> Result<(), Status> {
        self.written.borrow().ended.clone().map_or(Ok(()), Err)
    }

    /// Blocks until there are changes to write; `false` once the journal is closed and everything is written.
    pub(super) fn wait_for_changes(&self) -> bool {
        let mut pending = self.pending();
        loop {
            let empty = pending.changes.is_empty();
            if pending.closing {
                return !empty;
            }
            if pending.urgent {
                return true;
            }
            if empty {
                pending = self.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let may_wait = |pending: &mut Pending| !pending.urgent && !pending.closing;
            let waited = self.changed.wait_timeout_while(pending, WRITE_DELAY, may_wait);
            drop(waited);
            return true;
        }
    }

    /// Takes the changes, and the number of their batch. Call it with the state locked.
    pub(super) fn take_batch(&self) -> (u64, Changes) {
        let mut pending = self.pending();
        let batch = pending.batch;
        pending.batch += 1;
        pending.urgent = false;
        (batch, std::mem::take(&mut pending.changes))
    }

    /// Tells those who wait that a batch is written.
    pub(super) fn mark_written(&self, batch: u64) {
        self.written.send_modify(|written| written.batch = batch);
    }

    /// Has the writer write what is pending, and then end.
    pub(super) fn close(&self) {
        self.pending().closing = true;
        self.changed.notify_one();
    }

    /// Records nothing from now on, and fails those who wait. The first of several reasons counts.
    pub(super) fn end(&self, why: Option<Status>) {
        let changes = {
            let mut pending = self.pending();
            pending.ended = true;
            std::mem::take(&mut pending.changes)
        };
        drop(changes);
        self.written.send_modify(|written| {
            written.ended.get_or_insert_with(|| why.unwrap_or_else(shutting_down));
        });
    }

    fn record(&self, change: impl FnOnce(&mut Changes)) {
        let mut pending = self.pending();
        if pending.ended {
            return;
        }
        let first = pending.changes.is_empty();
        change(&mut pending.changes);
        if first {
            self.changed.notify_one();
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shutting_down() -> Status {
    Status::unavailable("The local Pub/Sub is shutting down.")
}

/// Records what a subscription's queue holds.
#[derive(Clone, Debug)]
pub(super) struct HoldRecorder {
    pub(super) journal: Arc<Journal>,
    pub(super) uid: u64,
}

impl HoldRecorder {
    pub(super) fn hold(&self, number: u64, hold: Option<Hold>) {
        self.journal.hold(number, self.uid, hold);
    }
}
