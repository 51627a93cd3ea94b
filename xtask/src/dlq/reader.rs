//! The letters that a subscription holds.
//!
//! By unary pull over REST, which the client does not have: in Google's emulator a stream that ends leaves behind a reader that
//! takes messages for ever. What is pulled stays leased until it is acknowledged, or given back at the end.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::letter::{Letter, Message};
use crate::pubsub::{PubSub, Rest};

/// The most letters that are leased at a time.
const HELD: usize = 10_000;
/// Letters in one answer, each up to 10 MB and a third more in JSON; and the longest answer in bytes.
const TOGETHER: usize = 16;
const MAX_ANSWER: usize = 256 << 20;
/// How long leases last, how old one is when it is extended, and how often that is looked at. The first lease of a letter is the
/// subscription's, 10 s at least.
const LEASE: Duration = Duration::from_secs(60);
const EXTEND: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_secs(4);
/// Between two pulls that bring nothing.
const PAUSE: Duration = Duration::from_millis(200);
/// Ids in one request.
const IDS: usize = 500;
/// How long Pub/Sub may take with leases.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Reader {
    calls: Arc<Calls>,
    wait: Duration,
    ready: VecDeque<Received>,
    /// A pull on its way. Its letters are leased, so it must not be dropped with whoever waits for it.
    pulling: Option<JoinHandle<Result<Vec<Received>>>>,
    /// Message ids.
    seen: HashSet<String>,
    /// To be acknowledged.
    done: Vec<String>,
    keeper: JoinHandle<()>,
}

struct Calls {
    rest: Rest,
    /// `projects/P/subscriptions/S`
    subscription: String,
    /// Ack ids of everything pulled and not acknowledged, and when each is to be extended.
    leases: Mutex<BTreeMap<String, Instant>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    ack_id: String,
    #[serde(default)]
    message: Message,
    delivery_attempt: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    received_messages: Vec<Received>,
}

impl Reader {
    pub(super) fn open(pubsub: &PubSub, subscription: &str, wait: Duration) -> Result<Self> {
        let rest = pubsub.rest()?;
        let calls = Arc::new(Calls { rest, subscription: subscription.to_owned(), leases: Mutex::default() });
        let keeper = tokio::spawn(Arc::clone(&calls).keep());
        let (ready, seen, done) = (VecDeque::new(), HashSet::new(), Vec::new());
        Ok(Self { calls, wait, ready, pulling: None, seen, done, keeper })
    }

    /// The next letter; `None` when none comes for a while. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Letter>> {
        loop {
            while let Some(Received { ack_id, message, delivery_attempt }) = self.ready.pop_front() {
                // A letter that comes twice is leased twice, and its first delivery is the one that counts.
                if self.seen.insert(message.message_id.clone()) {
                    return Letter::new(message, ack_id, delivery_attempt).map(Some);
                }
            }
            self.flush().await?;
            let pulling = self.pulling.get_or_insert_with(|| tokio::spawn(Arc::clone(&self.calls).pull(self.wait)));
            let pulled = pulling.await;
            self.pulling = None;
            let pulled = pulled??;
            if pulled.is_empty() {
                return Ok(None);
            }
            self.ready.extend(pulled);
        }
    }

    /// Whether no more letters can be held.
    pub(super) fn is_full(&self) -> bool {
        let full = self.calls.leases().len() >= HELD;
        if full {
            eprintln!("warning: stopped at {HELD} letters, the most that are looked at and left in one run");
        }
        full
    }

    /// Acknowledges a letter, soon.
    pub(super) fn acknowledge(&mut self, letter: &Letter) {
        self.done.push(letter.ack_id.clone());
    }

    async fn flush(&mut self) -> Result<()> {
        while !self.done.is_empty() {
            let ids = &self.done[..self.done.len().min(IDS)];
            self.calls.post("acknowledge", json!({"ackIds": ids})).await?;
            for id in self.done.drain(..ids.len()) {
                self.calls.leases().remove(&id);
            }
        }
        Ok(())
    }

    /// Sends what is to be acknowledged, and gives back everything else.
    pub(super) async fn close(mut self) -> Result<()> {
        self.keeper.abort();
        if let Some(pulling) = self.pulling.take() {
            let _ = pulling.await; // what it brings is in the leases
        }
        self.flush().await?;
        let rest: Vec<String> = self.calls.leases().keys().cloned().collect();
        self.calls
            .deadline(&rest, Duration::ZERO)
            .await
            .context("letters that were looked at come back when their leases end")
    }
}

impl Calls {
    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn post(&self, method: &str, body: Value) -> Result<Vec<u8>> {
        self.rest.post(&format!("{}:{method}", self.subscription), &body, PATIENCE, MAX_ANSWER).await
    }

    async fn pull(self: Arc<Self>, wait: Duration) -> Result<Vec<Received>> {
        let start = Instant::now();
        loop {
            // At once, because a pull that is given up while it waits may still be given a letter.
            let asked = json!({"maxMessages": TOGETHER, "returnImmediately": true});
            let answer: Answer = serde_json::from_slice(&self.post("pull", asked).await?)
                .map_err(|error| anyhow!("the answer to a pull from {} cannot be read: {error}", self.subscription))?;
            let received = answer.received_messages;
            if !received.is_empty() || start.elapsed() >= wait {
                let now = Instant::now();
                self.leases().extend(received.iter().map(|received| (received.ack_id.clone(), now)));
                return Ok(received);
            }
            sleep(PAUSE).await;
        }
    }

    /// Keeps everything leased.
    async fn keep(self: Arc<Self>) {
        loop {
            sleep(LOOK).await;
            let now = Instant::now();
            let due: Vec<String> =
                self.leases().iter().filter(|(_, due)| **due <= now).map(|(id, _)| id.clone()).collect();
            if let Err(error) = self.deadline(&due, LEASE).await {
                eprintln!("warning: leases are not extended, letters may come twice: {error:#}");
            }
            let mut leases = self.leases();
            for id in &due {
                if let Some(due) = leases.get_mut(id) {
                    *due = now + EXTEND;
                }
            }
        }
    }

    async fn deadline(&self, ids: &[String], lease: Duration) -> Result<()> {
        for ids in ids.chunks(IDS) {
            let asked = json!({"ackIds": ids, "ackDeadlineSeconds": lease.as_secs()});
            self.post("modifyAckDeadline", asked).await?;
        }
        Ok(())
    }
}
