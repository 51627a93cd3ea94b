//! One effect a message: repeats of a message whose result is out are answered without running the model or publishing anything
//! new, and copies that overlap wait for one another.
//!
//! A piece of work is known by service, task and key ([`crate::idempotency`]). Its data are not part of that: of two messages with one
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

mod known;
mod objects;
mod place;
mod protocol;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra::topology::Service;
use serde::Serialize;

use crate::clients::Clients;
use crate::digest::hex;
use crate::event::PUBSUB_TYPE;
use crate::idempotency::{self, object_segment};
use crate::{Message, Outcome, Sinks, TaskResult};
pub(crate) use known::Done;
use known::{Known, Look, Place, busy};
use objects::Bucket;
pub use place::LedgerPlace;
use protocol::{Claimed, Fault, Names};

/// What Cloud Run gives a service that declares no timeout.
const TIMEOUT: Duration = Duration::from_secs(300);
/// No claim is stale sooner unless a setting says so: claim, publish and completion may take 20 s beside the work.
const SHORTEST: Duration = Duration::from_secs(60);
/// How long a copy waits for another one in this process.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a completion, or a release, may take. Both come late in a message's time, and the work is done without them.
const LAST: Duration = Duration::from_secs(4);

/// What is known of work done and under way.
#[derive(Debug)]
pub(crate) struct Ledger {
    known: Arc<Known>,
    bucket: Option<InBucket>,
    service: String,
    /// Results are kept for repeats.
    bodies: bool,
    /// No two processes have the same.
    process: String,
    claims: AtomicU64,
}

#[derive(Debug)]
struct InBucket {
    bucket: Bucket,
    prefix: String,
    stale: Duration,
    deadline: Duration,
}

/// What a message meets.
pub(crate) enum Arrival {
    /// The work is to be done, by whoever holds this.
    First(Turn),
    /// It is done already.
    Done(Repeat),
    /// Another copy is at it, or the ledger cannot be asked.
    Wait(Outcome),
}

/// Work that was done before.
pub(crate) struct Repeat {
    pub(crate) done: Done,
    /// `process` or `ledger`.
    pub(crate) known_by: &'static str,
}

/// The hold on a piece of work. Dropped, it is given up: its claim is deleted.
pub(crate) struct Turn {
    ledger: Arc<Ledger>,
    place: Option<Place>,
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
        place: &LedgerPlace,
        clients: &Arc<Clients>,
        service: &Service,
        stale: Option<Duration>,
        sinks: &Sinks,
    ) -> Option<Arc<Self>> {
        if !sinks.has_effects() {
            return None;
        }
        let bucket = match place {
            LedgerPlace::Bucket { bucket, prefix } if sinks.leaves_no_record() => {
                let stale = stale.unwrap_or_else(|| (service.timeout.unwrap_or(TIMEOUT) * 2).max(SHORTEST));
                tracing::info!(ledger = %place, ?stale, "repeats are known by the ledger");
                let name = &service.name;
                Some(InBucket {
                    bucket: Bucket::new(bucket, clients),
                    prefix: if name.is_empty() { prefix.clone() } else { format!("{prefix}{name}/") },
                    stale,
                    deadline: clients.deadline(),
                })
            }
            _ if !sinks.leaves_no_record() => {
                tracing::info!("repeats are known by the objects of their results");
                None
            }
            _ => {
                tracing::info!("repeats are known within this process only; LEDGER makes them known to all");
                None
            }
        };
        Some(Arc::new(Self {
            known: Known::new(),
            bucket,
            service: service.name.clone(),
            bodies: sinks.responds(),
            process: process(),
            claims: AtomicU64::new(0),
        }))
    }

    /// Whose work this is, as far as this process knows. Waits for a copy that is under way here.
    pub(crate) async fn arrive(self: &Arc<Self>, task: &str, message: &Message) -> Arrival {
        match self.known.look(&name(task, message), PATIENCE).await {
            Look::First(place) => Arrival::First(Turn { ledger: Arc::clone(self), place: Some(place), held: None }),
            Look::Done(done) => Arrival::Done(Repeat { done, known_by: "process" }),
            Look::Wait(outcome) => Arrival::Wait(outcome),
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

impl Turn {
    /// Claims the work among processes, where there is a ledger. The turn goes on, or has ended with the arrival that is returned.
    pub(crate) async fn claim(self, task: &str, message: &Message) -> Arrival {
        let ledger = Arc::clone(&self.ledger);
        let Some(shared) = &ledger.bucket else { return Arrival::First(self) };
        let names = shared.names(task, message);
        let id = format!("{}-{}", ledger.process, ledger.claims.fetch_add(1, Ordering::Relaxed));
        let body = ledger.entry("claimed", &id, &jiff::Timestamp::now().to_string(), task, message);
        let message_id = message.id.clone();
        // A task of its own: a claim whose sender goes away before it is answered is given up all the same.
        let arrival = tokio::spawn(self.claimed(names, id, body, message_id)).await;
        arrival.unwrap_or_else(|_| Arrival::Wait(Outcome::retry("this instance is shutting down")))
    }

    async fn claimed(mut self, names: Names, id: String, body: Bytes, message_id: String) -> Arrival {
        let ledger = Arc::clone(&self.ledger);
        let Some(shared) = &ledger.bucket else { return Arrival::First(self) };
        let calls = shared.bucket.within(shared.deadline);
        match protocol::claim(&calls, &names, &id, &body, shared.stale).await {
            Ok(Claimed::Ours { generation, taken_over }) => {
                if taken_over {
                    tracing::warn!(message_id, claim = names.claim, "took over a stale claim");
                }
                self.held = Some(Box::new(Held { names, id, generation, taken_over }));
                Arrival::First(self)
            }
            Ok(Claimed::Done) => {
                let done = Done { body: None, time: String::new() };
                if let Some(place) = self.place.take() {
                    place.done(done.clone());
                }
                Arrival::Done(Repeat { done, known_by: "ledger" })
            }
            Ok(Claimed::Elsewhere(after)) => {
                let outcome = busy(after);
                self.pass_on(&outcome);
                Arrival::Wait(outcome)
            }
            Err(fault) => {
                tracing::error!(message_id, error = %fault, "the ledger cannot be asked");
                let outcome = Outcome::retry("whether this was done before cannot be told; it will be tried again");
                self.pass_on(&outcome);
                Arrival::Wait(outcome)
            }
        }
    }

    /// The result is out: notes that, for every process.
    pub(crate) async fn complete(mut self, result: &TaskResult<'_>) {
        if let (Some(held), Some(shared)) = (self.held.take(), &self.ledger.bucket) {
            let body = self.ledger.entry("done", &held.id, &result.time, result.task, result.input);
            let calls = shared.bucket.within(LAST);
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
        let body = self.ledger.bodies.then(|| result.body.clone());
        if let Some(place) = self.place.take() {
            place.done(Done { body, time: result.time.clone() });
        }
    }

    /// The work ended without a result: gives it up, so that another try need not wait.
    pub(crate) async fn give_up(mut self, outcome: &Outcome) {
        let shared = matches!(outcome, Outcome::Retry { .. } | Outcome::Overloaded { .. }).then(|| outcome.clone());
        if let Some(release) = self.release(shared.clone()) {
            let _ = release.await; // it logs what fails
        } else if let Some(outcome) = shared {
            self.pass_on(&outcome);
        }
    }

    fn pass_on(&mut self, outcome: &Outcome) {
        if let Some(place) = self.place.take() {
            place.passing(outcome.clone());
        }
    }

    /// Deletes the claim, if there is one, in a task of its own; only then do copies in this process go on.
    fn release(&mut self, outcome: Option<Outcome>) -> Option<tokio::task::JoinHandle<()>> {
        let held = self.held.take().filter(|held| !held.taken_over)?;
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let (ledger, place) = (Arc::clone(&self.ledger), self.place.take());
        Some(runtime.spawn(async move {
            if let Some(shared) = &ledger.bucket
                && let Err(fault) = shared.release(&held).await
            {
                tracing::warn!(error = %fault, stale = ?shared.stale, "claim not released; it will be stale");
            }
            if let (Some(place), Some(outcome)) = (place, outcome) {
                place.passing(outcome);
            }
        }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.release(None);
    }
}

impl InBucket {
    fn names(&self, task: &str, message: &Message) -> Names {
        let key = message.key();
        let segment = object_segment(&key);
        let name = |kind: &str| format!("{}{task}/{kind}/{segment}", self.prefix);
        Names { claim: name("claim"), done: name("done") }
    }

    async fn release(&self, held: &Held) -> Result<(), Fault> {
        use protocol::Store;
        self.bucket.within(LAST).delete(&held.names.claim, held.generation).await
    }
}

/// What a piece of work is called within this process.
fn name(task: &str, message: &Message) -> Arc<str> {
    let key = message.key();
    let own = message.attributes.get(idempotency::ATTRIBUTE).is_some_and(|key| !key.is_empty());
    // A line break separates: a task's name has none.
    if own || message.kind != PUBSUB_TYPE {
        format!("{task}\n{key}").into()
    } else {
        format!("{task}\n{}\n{key}", message.time).into()
    }
}

/// A name for this process that no other has: for people where it runs, and 64 random bits.
fn process() -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut random = [0; 8];
    if SystemRandom::new().fill(&mut random).is_err() {
        random = jiff::Timestamp::now().as_nanosecond().to_be_bytes()[8..].try_into().unwrap_or_default();
    }
    let place = ["K_REVISION", "HOSTNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let place: String = place.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(80).collect();
    format!("{place}-{}-{}", std::process::id(), hex(&random))
}
