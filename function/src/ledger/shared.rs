//! The part of the ledger that processes share: its names, entries and deadlines, on the objects of a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra::topology::Service;
use serde::Serialize;

use super::objects::{BoundedCalls, Bucket};
use super::protocol::Names;
use crate::Message;
use crate::clients::Clients;
use crate::digest::hex;
use crate::idempotency::object_segment;

/// Cloud Run's timeout for a service that declares none.
const DEFAULT_SERVICE_TIMEOUT: Duration = Duration::from_secs(300);
/// The lowest age of a stale claim, unless a setting says less: claim, publish and completion may take 20 s beside
/// the work.
const MIN_STALE_AGE: Duration = Duration::from_secs(60);
/// How long recording a completion, or deleting a claim, may take. Both come late in a message's time, and the work
/// is done without them.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) struct SharedLedger {
    bucket: Bucket,
    /// What names of objects begin with: that of the setting, and the service.
    prefix: String,
    /// A claim that is older than this may be taken over.
    pub(super) stale: Duration,
    /// How long taking a claim may take.
    claim_timeout: Duration,
    service: String,
    /// No two processes have the same.
    process: String,
    /// Claims that this process has tried to take.
    claims: AtomicU64,
}

/// The text of an object, for people: the protocol needs no more than its name and the claim that wrote it.
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

impl SharedLedger {
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        clients: &Arc<Clients>,
        service: &Service,
        stale: Option<Duration>,
    ) -> Self {
        let service_timeout = service.timeout.unwrap_or(DEFAULT_SERVICE_TIMEOUT);
        let name = &service.name;
        Self {
            bucket: Bucket::new(bucket, clients),
            prefix: if name.is_empty() { prefix.to_owned() } else { format!("{prefix}{name}/") },
            stale: stale.unwrap_or_else(|| (service_timeout * 2).max(MIN_STALE_AGE)),
            claim_timeout: clients.deadline(),
            service: name.clone(),
            process: process_name(),
            claims: AtomicU64::new(0),
        }
    }

    /// Calls to take a claim.
    pub(super) fn claim_calls(&self) -> BoundedCalls<'_> {
        self.bucket.within(self.claim_timeout)
    }

    /// Calls to record a completion or to delete a claim.
    pub(super) fn completion_calls(&self) -> BoundedCalls<'_> {
        self.bucket.within(COMPLETION_TIMEOUT)
    }

    /// A claim's id: no other claim, of this process or another, has the same.
    pub(super) fn next_claim_id(&self) -> String {
        format!("{}-{}", self.process, self.claims.fetch_add(1, Ordering::Relaxed))
    }

    /// The objects of a message.
    pub(super) fn names(&self, task: &str, message: &Message) -> Names {
        let key = message.key();
        let segment = object_segment(&key);
        let name = |kind: &str| format!("{}{task}/{kind}/{segment}", self.prefix);
        Names { claim: name("claim"), done: name("done") }
    }

    /// The text of an object in this state, `claimed` or `done`.
    pub(super) fn entry(&self, state: &'static str, claim: &str, time: &str, task: &str, message: &Message) -> Bytes {
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
        serde_json::to_vec(&entry).unwrap_or_default().into() // a struct of strings always serializes
    }
}

/// A name that no other process has: where it runs, for people, and 64 random bits.
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
