//! The ledger: one effect a message, although Pub/Sub delivers at least once.
//!
//! A duplicate of a message whose result is published is answered without running the model and without publishing
//! anything new. Deliveries of one message that overlap wait for one another. A piece of work is identified by
//! service, task and idempotency key. Its data are not part of the identity: of two messages with one key and
//! different data the first wins, and the second is answered as its duplicate.
//!
//! # Where duplicates are found
//!
//! | where | by what | when |
//! |---|---|---|
//! | this process (`local_dedup`) | work in flight, and a bounded cache of completed work | always: it costs no call |
//! | all processes (`shared`) | two objects a message | `LEDGER` is set, and results go to a topic or to stdout |
//! | the bucket of the results | the result's own object | results go to a bucket |
//!
//! Where the answer is the only result, nothing can be done twice: there is no ledger, and every request is worked on.
//!
//! A message without an `idempotency-key` of its own is identified within a process by its publish time too, since
//! emulators of Pub/Sub start counting message ids from 1 again.
//!
//! # The protocol among processes
//!
//! | before the model runs | `claim/…` is written, if it does not exist |
//! |---|---|
//! | it exists, and `done/…` too | Done: nothing runs and nothing is published |
//! | it exists, and is recent | Retry, with a time to wait |
//! | it exists, and is stale | it is taken over, if it is still the one that was read |
//! | the storage fails | Retry: nothing is lost |
//!
//! | afterwards | |
//! |---|---|
//! | the result is published | `done/…` is written |
//! | the work ended otherwise, or its sender went away | the claim is deleted, if it is still this one |
//!
//! A claim is stale after twice the service's timeout and at least a minute, or after `LEDGER_STALE_SECONDS`, by the
//! storage's clock alone. Objects are named `PREFIX SERVICE/TASK/{claim,done}/KEY`, and hold who, what and when as
//! JSON.
//!
//! A duplicate is answered with 204; or, where `response` is among the results, with 200 and the result, if this
//! process still has it.
//!
//! # When a message can still get two results
//!
//! Both then carry the same `ce-id`, the idempotency key, so that a reader can recognise them:
//!
//! - The process ends after the publish and before the completion is recorded; or the completion cannot be written,
//!   and the message is redelivered although it was acknowledged.
//! - Pub/Sub takes a result and its answer is lost, or one of several destinations fails: the message is a Retry.
//! - The work takes longer than the time after which its claim is stale.
//! - The ledger's objects have expired; or, without a ledger, another process gets the duplicate, or this one has
//!   forgotten the original.
//!
//! # Layout
//!
//! - `local_dedup`: what this process remembers by itself
//! - `permit`: the right to do a piece of work, from admission to settlement
//! - `shared`: the ledger's names, entries and deadlines
//! - `protocol`: claim and completion on objects with preconditions; tested under random interleavings
//! - `objects`: those objects in Cloud Storage
//! - `location`: the setting `LEDGER`

mod local_dedup;
mod location;
mod objects;
mod permit;
mod protocol;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use infra::topology::Service;

use crate::clients::Clients;
use crate::event::PUBSUB_TYPE;
use crate::idempotency;
use crate::{Message, Sinks};
use local_dedup::{InFlight, LocalDedup, Lookup};
pub use location::LedgerLocation;
pub(crate) use permit::{Admission, Duplicate, Settlement, WorkPermit};
use shared::SharedLedger;

/// How long a delivery waits for another one of the same message in this process.
const LOCAL_WAIT: Duration = Duration::from_secs(8);

/// Which work is done and which is in flight.
#[derive(Debug)]
pub(crate) struct Ledger {
    dedup: Arc<LocalDedup>,
    /// Shared with other processes; `None` where this process, or the results' objects, have to do.
    shared: Option<Arc<SharedLedger>>,
    /// Results are kept in memory, to answer duplicates with.
    keep_results: bool,
}

impl Ledger {
    /// `None` where nothing could be done twice. Nothing connects yet. `stale` is how old a claim is that may be
    /// taken over; left out, it follows from the service's timeout.
    pub(crate) fn start(
        location: &LedgerLocation,
        clients: &Arc<Clients>,
        service: &Service,
        stale: Option<Duration>,
        sinks: &Sinks,
    ) -> Option<Arc<Self>> {
        if !sinks.has_effects() {
            return None;
        }
        let shared = match location {
            LedgerLocation::Bucket { bucket, prefix } if sinks.needs_ledger() => {
                let shared = SharedLedger::new(bucket, prefix, clients, service, stale);
                tracing::info!(ledger = %location, stale = ?shared.stale, "duplicates are found by the ledger");
                Some(Arc::new(shared))
            }
            _ if !sinks.needs_ledger() => {
                tracing::info!("duplicates are found by the objects of their results");
                None
            }
            _ => {
                tracing::info!(
                    "duplicates are found within this process only; set LEDGER to find them across processes"
                );
                None
            }
        };
        Some(Arc::new(Self { dedup: LocalDedup::new(), shared, keep_results: sinks.responds() }))
    }

    /// Admits a delivery as far as this process can tell, and waits for another delivery of the same message that is
    /// in flight here. [`WorkPermit::claim`] then asks the other processes.
    pub(crate) async fn admit(self: &Arc<Self>, task: &str, message: &Message) -> Admission {
        match self.dedup.lookup(&local_key(task, message), LOCAL_WAIT).await {
            Lookup::Proceed(in_flight) => Admission::Proceed(self.permit(in_flight)),
            Lookup::Duplicate(done) => Admission::Duplicate(Duplicate { done, found_in: "process" }),
            Lookup::Busy(outcome) => Admission::Busy(outcome),
        }
    }

    fn permit(&self, in_flight: InFlight) -> WorkPermit {
        WorkPermit::new(self.shared.clone(), self.keep_results, in_flight)
    }
}

/// Identifies a piece of work within this process.
fn local_key(task: &str, message: &Message) -> Arc<str> {
    let key = message.key();
    let has_own_key = message.attributes.get(idempotency::ATTRIBUTE).is_some_and(|key| !key.is_empty());
    // A line break separates the parts: a task's name has none.
    if has_own_key || message.kind != PUBSUB_TYPE {
        format!("{task}\n{key}").into()
    } else {
        format!("{task}\n{}\n{key}", message.time).into()
    }
}
