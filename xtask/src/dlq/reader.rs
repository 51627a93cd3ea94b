//! Reads the dead letters of a subscription.
//!
//! By unary pull over REST, which the official client lacks: in Google's emulator, a StreamingPull that has ended goes
//! on taking messages. Pulled dead letters stay leased until they are acknowledged, or nacked at the end.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::dead_letter::{DeadLetter, RestMessage};
use crate::pubsub_client::{PubSubClient, RetryingRestClient};

/// The most dead letters that are leased at a time.
const MAX_LEASED: usize = 10_000;
/// The most dead letters in one response. Each has up to 10 MB, and a third more in JSON.
const MAX_PULL_MESSAGES: usize = 16;
const MAX_RESPONSE_BYTES: usize = 256 << 20;
/// How long leases last, how old one is when it is extended, and how often the ages are checked. The first lease of a
/// dead letter has the subscription's deadline, which is 10 s at least.
const LEASE: Duration = Duration::from_secs(60);
const EXTEND_AFTER: Duration = Duration::from_secs(25);
const CHECK_INTERVAL: Duration = Duration::from_secs(4);
/// Between two pulls without messages.
const PULL_INTERVAL: Duration = Duration::from_millis(200);
/// The most acknowledgement ids in one request.
const MAX_ACK_IDS: usize = 500;
/// How long one request, with its retries, may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Reader {
    requests: Arc<Requests>,
    wait: Duration,
    ready: VecDeque<Received>,
    /// A pull in flight. It leases dead letters, so it must not be cancelled with the future that waits for it.
    pulling: Option<JoinHandle<Result<Vec<Received>>>>,
    /// Message ids that were returned.
    seen: HashSet<String>,
    /// Acknowledgement ids that are still to be sent.
    done: Vec<String>,
    keeper: JoinHandle<()>,
}

struct Requests {
    rest: RetryingRestClient,
    /// `projects/P/subscriptions/S`
    subscription: String,
    /// Acknowledgement ids of all dead letters that are pulled and not acknowledged, and when each lease is to be
    /// extended.
    leases: Mutex<BTreeMap<String, Instant>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    ack_id: String,
    #[serde(default)]
    message: RestMessage,
    delivery_attempt: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    received_messages: Vec<Received>,
}

impl Reader {
    pub(super) fn open(pubsub: &PubSubClient, subscription: &str, wait: Duration) -> Result<Self> {
        let rest = pubsub.rest()?;
        let requests = Arc::new(Requests { rest, subscription: subscription.to_owned(), leases: Mutex::default() });
        let keeper = tokio::spawn(Arc::clone(&requests).keep());
        let (ready, seen, done) = (VecDeque::new(), HashSet::new(), Vec::new());
        Ok(Self { requests, wait, ready, pulling: None, seen, done, keeper })
    }

    /// The next dead letter; `None` when none comes for a while. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<DeadLetter>> {
        loop {
            while let Some(Received { ack_id, message, delivery_attempt }) = self.ready.pop_front() {
                // One that comes twice is leased twice, and its first delivery counts.
                if self.seen.insert(message.message_id.clone()) {
                    return DeadLetter::new(message, ack_id, delivery_attempt).map(Some);
                }
            }
            self.flush().await?;
            let pulling = self.pulling.get_or_insert_with(|| tokio::spawn(Arc::clone(&self.requests).pull(self.wait)));
            let pulled = pulling.await;
            self.pulling = None;
            let pulled = pulled??;
            if pulled.is_empty() {
                return Ok(None);
            }
            self.ready.extend(pulled);
        }
    }

    /// Whether no more dead letters can be leased.
    pub(super) fn is_full(&self) -> bool {
        let full = self.requests.leases().len() >= MAX_LEASED;
        if full {
            eprintln!(
                "warning: stopped at {MAX_LEASED} dead letters, the most that one run reads without consuming them"
            );
        }
        full
    }

    /// Acknowledges a dead letter, with the next request.
    pub(super) fn acknowledge(&mut self, letter: &DeadLetter) {
        self.done.push(letter.ack_id.clone());
    }

    async fn flush(&mut self) -> Result<()> {
        while !self.done.is_empty() {
            let ids = &self.done[..self.done.len().min(MAX_ACK_IDS)];
            self.requests.post("acknowledge", json!({"ackIds": ids})).await?;
            for id in self.done.drain(..ids.len()) {
                self.requests.leases().remove(&id);
            }
        }
        Ok(())
    }

    /// Sends the acknowledgements that are left, and nacks all other dead letters.
    pub(super) async fn close(mut self) -> Result<()> {
        self.keeper.abort();
        if let Some(pulling) = self.pulling.take() {
            let _ = pulling.await; // its dead letters are in the leases
        }
        self.flush().await?;
        let rest: Vec<String> = self.requests.leases().keys().cloned().collect();
        self.requests
            .deadline(&rest, Duration::ZERO)
            .await
            .context("dead letters that were read are redelivered when their leases end")
    }
}

impl Requests {
    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn post(&self, method: &str, body: Value) -> Result<Vec<u8>> {
        self.rest.post(&format!("{}:{method}", self.subscription), &body, REQUEST_TIMEOUT, MAX_RESPONSE_BYTES).await
    }

    async fn pull(self: Arc<Self>, wait: Duration) -> Result<Vec<Received>> {
        let start = Instant::now();
        loop {
            // Without waiting on the server: a pull that is cancelled while it waits may still be given a message.
            let asked = json!({"maxMessages": MAX_PULL_MESSAGES, "returnImmediately": true});
            let answer: Answer = serde_json::from_slice(&self.post("pull", asked).await?)
                .map_err(|error| anyhow!("the answer to a pull from {} cannot be read: {error}", self.subscription))?;
            let received = answer.received_messages;
            if !received.is_empty() || start.elapsed() >= wait {
                let now = Instant::now();
                self.leases().extend(received.iter().map(|received| (received.ack_id.clone(), now)));
                return Ok(received);
            }
            sleep(PULL_INTERVAL).await;
        }
    }

    /// Extends leases, until the task is aborted.
    async fn keep(self: Arc<Self>) {
        loop {
            sleep(CHECK_INTERVAL).await;
            let now = Instant::now();
            let due: Vec<String> =
                self.leases().iter().filter(|(_, due)| **due <= now).map(|(id, _)| id.clone()).collect();
            if let Err(error) = self.deadline(&due, LEASE).await {
                eprintln!("warning: cannot extend leases, so dead letters may come twice: {error:#}");
            }
            let mut leases = self.leases();
            for id in &due {
                if let Some(due) = leases.get_mut(id) {
                    *due = now + EXTEND_AFTER;
                }
            }
        }
    }

    async fn deadline(&self, ids: &[String], lease: Duration) -> Result<()> {
        for ids in ids.chunks(MAX_ACK_IDS) {
            let asked = json!({"ackIds": ids, "ackDeadlineSeconds": lease.as_secs()});
            self.post("modifyAckDeadline", asked).await?;
        }
        Ok(())
    }
}
