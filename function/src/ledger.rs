//! One effect a message: repeats of a message whose result is out are answered without running the model or publishing anything
//! new, and copies that overlap wait for one another.
//!
//! A piece of work is known by service, task and key ([`crate::key`]). Its data are not part of that: of two messages with one
//! key and different data the first wins, and the second is answered as its repeat.
//!
//! # Where repeats are known
//!
//! - Within a process, by a bounded cache and by what is under way. This costs no call. A message without an `idempotency-key` of
//!   its own is known here by its publish time too, since stand-ins for Pub/Sub count their ids from 1 again.
//! - Among processes, where results go to a topic or to standard output, by the ledger: two objects a message in a bucket.
//!   Results in a bucket need none, since the result's object is the record. Where the only result is the answer, there is
//!   nothing that could be done twice: every request is worked on.
//!
//! | before the model runs | `claim/…` is written, if it is not there |
//! |---|---|
//! | it is there, and `done/…` too | Done, nothing runs and nothing is published |
//! | it is there, and recent | Retry, with a time to wait |
//! | it is there, and stale | taken over, if it is still the one that was found |
//! | the storage fails | Retry: nothing is lost |
//!
//! | after | |
//! |---|---|
//! | the result is out | `done/…` is written |
//! | the work ended otherwise, or its sender went away | the claim is deleted, if it is still this one |
//!
//! A claim is stale after twice the service's timeout, at least a minute, or `LEDGER_STALE_SECONDS`, by the storage's clock alone. Names are
//! `PREFIX SERVICE/TASK/{claim,done}/KEY`, and the objects hold who, what and when as JSON.
//!
//! A repeat is answered with 204; where `response` is among the results with 200 and the result, if this process has it still.
//!
//! # When there can be two copies of a result
//!
//! They then carry the same `ce-id`, the key, by which a reader can tell:
//!
//! - The process ends between the publish and the completion; or the completion cannot be written, and the message is delivered
//!   again although it was acknowledged.
//! - Pub/Sub takes a result and its answer is lost, or one of several destinations fails: the message is a Retry.
//! - The work takes longer than the bound after which its claim is stale.
//! - The entry has expired; or, without a ledger, another process has the repeat, or this one has forgotten it.

mod local_dedup;
mod location;
mod objects;
mod protocol;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra::topology::Service;
use serde::Serialize;

use crate::cloud::Clients;
use crate::event::PUBSUB_TYPE;
use crate::key::{self, hex, object_segment};
use crate::{Message, Outcome, Sinks, TaskResult};
pub(crate) use local_dedup::Done;
use local_dedup::{InFlight, LocalDedup, Lookup, busy};
pub use location::LedgerLocation;
use objects::Bucket;
use protocol::{Claimed, Names, StoreError};

/// What Cloud Run gives a service that declares no timeout.
const DEFAULT_SERVICE_TIMEOUT: Duration = Duration::from_secs(300);
/// No claim is stale sooner unless a setting says so: claim, publish and completion may take 20 s beside the work.
const MIN_STALE_AGE: Duration = Duration::from_secs(60);
/// How long a copy waits for another one in this process.
const LOCAL_WAIT: Duration = Duration::from_secs(8);
/// How long a completion, or a release, may take. Both come late in a message's time, and the work is done without them.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(4);

/// What is known of work done and under way.
#[derive(Debug)]
pub(crate) struct Ledger {
    dedup: Arc<LocalDedup>,
    bucket: Option<SharedLedger>,
    service: String,
    /// Results are kept for repeats.
    keep_results: bool,
    /// No two processes have the same.
    process: String,
    claims: AtomicU64,
}

#[derive(Debug)]
struct SharedLedger {
    bucket: Bucket,
    prefix: String,
    stale: Duration,
    deadline: Duration,
}

/// What a message meets.
pub(crate) enum Admission {
    /// The work is to be done, by whoever holds this.
    Proceed(WorkPermit),
    /// It is done already.
    Duplicate(Duplicate),
    /// Another copy is at it, or the ledger cannot be asked.
    Busy(Outcome),
}

/// Work that was done before.
pub(crate) struct Duplicate {
    pub(crate) done: Done,
    /// `process` or `ledger`.
    pub(crate) found_in: &'static str,
}

/// The hold on a piece of work. Dropped, it is given up: its claim is deleted.
pub(crate) struct WorkPermit {
    ledger: Arc<Ledger>,
    in_flight: Option<InFlight>,
    held: Option<Box<Held>>,
}

/// A claim in the bucket.
struct Held {
    names: Names,
    id: String,
    generation: i64,
    taken_over: bool,
}

/// What an object says, for people: the protocol needs its name and who wrote it.
#[derive(Serialize)]
struct Entry<'a> {
    state: &'static str,
    claim: &'a str,
    by: &'a str,
    time: &'a str,
    service: &'a str,
    task: &'a str,
    key: &'a str,
    source: &'a str,
    message_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subscription: &'a str,
}

impl Ledger {
    /// `place` is where processes share what they know; nothing connects yet. `None` where nothing could be done twice.
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
        let bucket = match location {
            LedgerLocation::Bucket { bucket, prefix } if sinks.needs_ledger() => {
                let stale = stale
                    .unwrap_or_else(|| (service.timeout.unwrap_or(DEFAULT_SERVICE_TIMEOUT) * 2).max(MIN_STALE_AGE));
                tracing::info!(ledger = %location, ?stale, "repeats are known by the ledger");
                let name = &service.name;
                Some(SharedLedger {
                    bucket: Bucket::new(bucket, clients),
                    prefix: if name.is_empty() { prefix.clone() } else { format!("{prefix}{name}/") },
                    stale,
                    deadline: clients.deadline(),
                })
            }
            _ if !sinks.needs_ledger() => {
                tracing::info!("repeats are known by the objects of their results");
                None
            }
            _ => {
                tracing::info!("repeats are known within this process only; LEDGER makes them known to all");
                None
            }
        };
        Some(Arc::new(Self {
            dedup: LocalDedup::new(),
            bucket,
            service: service.name.clone(),
            keep_results: sinks.responds(),
            process: process_name(),
            claims: AtomicU64::new(0),
        }))
    }

    /// Whose work this is, as far as this process knows. Waits for a copy that is under way here.
    pub(crate) async fn admit(self: &Arc<Self>, task: &str, message: &Message) -> Admission {
        match self.dedup.lookup(&local_key(task, message), LOCAL_WAIT).await {
            Lookup::Proceed(in_flight) => {
                Admission::Proceed(WorkPermit { ledger: Arc::clone(self), in_flight: Some(in_flight), held: None })
            }
            Lookup::Duplicate(done) => Admission::Duplicate(Duplicate { done, found_in: "process" }),
            Lookup::Busy(outcome) => Admission::Busy(outcome),
        }
    }

    fn entry(&self, state: &'static str, claim: &str, time: &str, task: &str, message: &Message) -> Bytes {
        let entry = Entry {
            state,
            claim,
            by: &self.process,
            time,
            service: &self.service,
            task,
            key: &message.key(),
            source: &message.source,
            message_id: &message.id,
            subscription: &message.subscription,
        };
        serde_json::to_vec(&entry).unwrap_or_default().into() // strings alone do not fail
    }
}

impl WorkPermit {
    /// Claims the work among processes, where there is a ledger. The turn goes on, or has ended with the arrival that is returned.
    pub(crate) async fn claim(self, task: &str, message: &Message) -> Admission {
        let ledger = Arc::clone(&self.ledger);
        let Some(shared) = &ledger.bucket else { return Admission::Proceed(self) };
        let names = shared.names(task, message);
        let id = format!("{}-{}", ledger.process, ledger.claims.fetch_add(1, Ordering::Relaxed));
        let body = ledger.entry("claimed", &id, &jiff::Timestamp::now().to_string(), task, message);
        let message_id = message.id.clone();
        // A task of its own: a claim whose sender goes away before it is answered is given up all the same.
        let arrival = tokio::spawn(self.claimed(names, id, body, message_id)).await;
        arrival.unwrap_or_else(|_| Admission::Busy(Outcome::retry("this instance is shutting down")))
    }

    async fn claimed(mut self, names: Names, id: String, body: Bytes, message_id: String) -> Admission {
        let ledger = Arc::clone(&self.ledger);
        let Some(shared) = &ledger.bucket else { return Admission::Proceed(self) };
        let calls = shared.bucket.within(shared.deadline);
        match protocol::claim(&calls, &names, &id, &body, shared.stale).await {
            Ok(Claimed::Ours { generation, taken_over }) => {
                if taken_over {
                    tracing::warn!(message_id, claim = names.claim, "took over a stale claim");
                }
                self.held = Some(Box::new(Held { names, id, generation, taken_over }));
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
                self.pass_on(&outcome);
                Admission::Busy(outcome)
            }
            Err(fault) => {
                tracing::error!(message_id, error = %fault, "the ledger cannot be asked");
                let outcome = Outcome::retry("whether this was done before cannot be told; it will be tried again");
                self.pass_on(&outcome);
                Admission::Busy(outcome)
            }
        }
    }

    /// The result is out: notes that, for every process.
    pub(crate) async fn complete(mut self, result: &TaskResult<'_>) {
        if let (Some(held), Some(shared)) = (self.held.take(), &self.ledger.bucket) {
            let body = self.ledger.entry("done", &held.id, &result.time, result.task, result.input);
            let calls = shared.bucket.within(COMPLETION_TIMEOUT);
            match protocol::complete(&calls, &held.names, &held.id, body).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(message_id = result.input.id, "a result is out twice: its claim was taken over");
                }
                Err(fault) => {
                    tracing::error!(message_id = result.input.id, error = %fault, "completion not noted; a repeat would run again");
                }
            }
        }
        let body = self.ledger.keep_results.then(|| result.body.clone());
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.done(Done { body, time: result.time.clone() });
        }
    }

    /// The work ended without a result: gives it up, so that another try need not wait.
    pub(crate) async fn release(mut self, outcome: &Outcome) {
        let shared = matches!(outcome, Outcome::Retry { .. } | Outcome::Overloaded { .. }).then(|| outcome.clone());
        if let Some(deletion) = self.delete_claim(shared.clone()) {
            let _ = deletion.await; // it logs what fails
        } else if let Some(outcome) = shared {
            self.pass_on(&outcome);
        }
    }

    fn pass_on(&mut self, outcome: &Outcome) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.failed(outcome.clone());
        }
    }

    /// Deletes the claim, if there is one, in a task of its own; only then do copies in this process go on.
    fn delete_claim(&mut self, outcome: Option<Outcome>) -> Option<tokio::task::JoinHandle<()>> {
        let held = self.held.take().filter(|held| !held.taken_over)?;
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let (ledger, in_flight) = (Arc::clone(&self.ledger), self.in_flight.take());
        Some(runtime.spawn(async move {
            if let Some(shared) = &ledger.bucket
                && let Err(fault) = shared.delete_claim(&held).await
            {
                tracing::warn!(error = %fault, stale = ?shared.stale, "claim not released; it will be stale");
            }
            if let (Some(in_flight), Some(outcome)) = (in_flight, outcome) {
                in_flight.failed(outcome);
            }
        }))
    }
}

impl Drop for WorkPermit {
    fn drop(&mut self) {
        self.delete_claim(None);
    }
}

impl SharedLedger {
    fn names(&self, task: &str, message: &Message) -> Names {
        let key = message.key();
        let segment = object_segment(&key);
        let name = |kind: &str| format!("{}{task}/{kind}/{segment}", self.prefix);
        Names { claim: name("claim"), done: name("done") }
    }

    async fn delete_claim(&self, held: &Held) -> Result<(), StoreError> {
        use protocol::Store;
        self.bucket.within(COMPLETION_TIMEOUT).delete(&held.names.claim, held.generation).await
    }
}

/// What a piece of work is called within this process.
fn local_key(task: &str, message: &Message) -> Arc<str> {
    let key = message.key();
    let own = message.attributes.get(key::ATTRIBUTE).is_some_and(|key| !key.is_empty());
    // A line break separates: a task's name has none.
    if own || message.kind != PUBSUB_TYPE {
        format!("{task}\n{key}").into()
    } else {
        format!("{task}\n{}\n{key}", message.time).into()
    }
}

/// A name for this process that no other has: for people where it runs, and 64 random bits.
fn process_name() -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut random = [0; 8];
    if SystemRandom::new().fill(&mut random).is_err() {
        random = jiff::Timestamp::now().as_nanosecond().to_be_bytes()[8..].try_into().unwrap_or_default();
    }
    let host = ["K_REVISION", "HOSTNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let host: String = host.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(80).collect();
    format!("{host}-{}-{}", std::process::id(), hex(&random))
}
