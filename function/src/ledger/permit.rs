//! The right to do a piece of work.
//!
//! A delivery that is admitted gets a permit, in this process at first; [`claim`](WorkPermit::claim) extends it to all
//! processes. It ends when it is [settled](WorkPermit::settle): completed where the result is published, released where
//! the work ended without one. Dropped, as when the sender goes away, it is released too. Releasing deletes the claim,
//! so that a redelivery need not wait until it is stale.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::local_dedup::{Done, InFlight, busy};
use super::protocol::{self, Claimed, Names, Store};
use super::shared::SharedLedger;
use crate::{Message, Outcome, TaskResult};

/// Whether a delivery may do its work.
pub(crate) enum Admission {
    /// The work is to be done, by the holder of this permit.
    Proceed(WorkPermit),
    /// It is done already.
    Duplicate(Duplicate),
    /// Another delivery of the message is in flight, or the ledger does not answer.
    Busy(Outcome),
}

/// Work that was done before.
pub(crate) struct Duplicate {
    pub(crate) done: Done,
    /// `process` or `ledger`: the label of the metric.
    pub(crate) found_in: &'static str,
}

/// How a piece of work ended.
pub(crate) enum Settlement<'a> {
    /// The result is out.
    Published(&'a TaskResult<'a>),
    /// There is no result.
    Ended(&'a Outcome),
}

/// The right to do a piece of work. Dropped, it is released.
pub(crate) struct WorkPermit {
    /// The ledger of all processes, where there is one.
    shared: Option<Arc<SharedLedger>>,
    /// Results are kept in memory, to answer duplicates with.
    keep_results: bool,
    /// The right within this process, until it has ended.
    in_flight: Option<InFlight>,
    /// The right among all processes.
    claim: Option<Box<HeldClaim>>,
}

/// A claim in the bucket that this process wrote.
struct HeldClaim {
    names: Names,
    id: String,
    generation: i64,
    taken_over: bool,
}

impl WorkPermit {
    pub(super) fn new(shared: Option<Arc<SharedLedger>>, keep_results: bool, in_flight: InFlight) -> Self {
        Self { shared, keep_results, in_flight: Some(in_flight), claim: None }
    }

    /// Claims the work among all processes, where there is a shared ledger. Unless the permit is returned as
    /// [`Admission::Proceed`], it has ended.
    pub(crate) async fn claim(self, task: &str, message: &Message) -> Admission {
        let Some(shared) = &self.shared else { return Admission::Proceed(self) };
        let names = shared.names(task, message);
        let id = shared.next_claim_id();
        let body = shared.entry("claimed", &id, &jiff::Timestamp::now().to_string(), task, message);
        let message_id = message.id.clone();
        // In a task of its own: if the sender goes away before the storage has answered, the claim is deleted all the
        // same.
        let admission = tokio::spawn(self.claim_as(names, id, body, message_id)).await;
        admission.unwrap_or_else(|_| Admission::Busy(Outcome::retry("this instance is shutting down")))
    }

    async fn claim_as(mut self, names: Names, id: String, body: Bytes, message_id: String) -> Admission {
        let Some(shared) = self.shared.clone() else { return Admission::Proceed(self) };
        match protocol::claim(&shared.claim_calls(), &names, &id, &body, shared.stale).await {
            Ok(Claimed::Ours { generation, taken_over }) => {
                if taken_over {
                    tracing::warn!(message_id, claim = names.claim, "took over a stale claim");
                }
                self.claim = Some(Box::new(HeldClaim { names, id, generation, taken_over }));
                Admission::Proceed(self)
            }
            Ok(Claimed::Done) => {
                let done = Done { body: None, time: String::new() };
                if let Some(in_flight) = self.in_flight.take() {
                    in_flight.done(done.clone());
                }
                Admission::Duplicate(Duplicate { done, found_in: "ledger" })
            }
            Ok(Claimed::Busy(after)) => {
                let outcome = busy(after);
                self.end_in_process(&outcome);
                Admission::Busy(outcome)
            }
            Err(error) => {
                tracing::error!(message_id, %error, "the ledger does not answer");
                let outcome = Outcome::retry("cannot tell whether this was done before; it will be tried again");
                self.end_in_process(&outcome);
                Admission::Busy(outcome)
            }
        }
    }

    /// Ends the permit, for every process.
    pub(crate) async fn settle(self, settlement: Settlement<'_>) {
        match settlement {
            Settlement::Published(result) => self.complete(result).await,
            Settlement::Ended(outcome) => self.release(outcome).await,
        }
    }

    /// Records, for every process, that the result is published.
    async fn complete(mut self, result: &TaskResult<'_>) {
        let message_id = &result.input.id;
        if let (Some(claim), Some(shared)) = (self.claim.take(), &self.shared) {
            let body = shared.entry("done", &claim.id, &result.time, result.task, result.input);
            match protocol::complete(&shared.completion_calls(), &claim.names, &claim.id, body).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(message_id, "duplicate result published: another process took over this claim");
                }
                Err(error) => {
                    tracing::error!(message_id, %error, "completion not recorded; a duplicate would run again");
                }
            }
        }
        let body = self.keep_results.then(|| result.body.clone());
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.done(Done { body, time: result.time.clone() });
        }
    }

    /// Ends the permit of work that has no result. Deliveries in this process that wait for it share a passing
    /// outcome; after any other outcome the next of them may try.
    async fn release(mut self, outcome: &Outcome) {
        let shared = matches!(outcome, Outcome::Retry { .. } | Outcome::Overloaded { .. }).then(|| outcome.clone());
        if let Some(deletion) = self.delete_claim(shared.clone()) {
            let _ = deletion.await; // it logs what fails
        } else if let Some(outcome) = shared {
            self.end_in_process(&outcome);
        }
    }

    /// Deliveries that wait for this one get its outcome.
    fn end_in_process(&mut self, outcome: &Outcome) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.failed(outcome.clone());
        }
    }

    /// Deletes the claim, if there is one to delete, in a task of its own. Deliveries that wait in this process go on
    /// only after that: they would find the claim.
    ///
    /// A claim that was taken over stays until it is stale, see [`Claimed::Ours`].
    fn delete_claim(&mut self, outcome: Option<Outcome>) -> Option<JoinHandle<()>> {
        let claim = self.claim.take().filter(|claim| !claim.taken_over)?;
        let runtime = Handle::try_current().ok()?;
        let (shared, in_flight) = (self.shared.clone(), self.in_flight.take());
        Some(runtime.spawn(async move {
            if let Some(shared) = &shared {
                delete(shared, &claim).await;
            }
            if let (Some(in_flight), Some(outcome)) = (in_flight, outcome) {
                in_flight.failed(outcome);
            }
        }))
    }
}

async fn delete(shared: &SharedLedger, claim: &HeldClaim) {
    let deleted = shared.completion_calls().delete(&claim.names.claim, claim.generation).await;
    if let Err(error) = deleted {
        tracing::warn!(%error, stale = ?shared.stale, "claim not deleted; redeliveries wait until it is stale");
    }
}

impl Drop for WorkPermit {
    fn drop(&mut self) {
        self.delete_claim(None);
    }
}
