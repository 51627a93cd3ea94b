//! Duplicates within this process: which work is in flight, and which was done lately.
//!
//! Invariant: an entry in `in_flight` exists exactly as long as its [`InFlight`] does. The first delivery of a
//! message gets the [`InFlight`]; later ones subscribe to how it ends. If it ends without saying how, because its
//! sender went away, those that wait start again, and the first of them gets the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::Outcome;

/// Completed pieces of work that are remembered; the least recently used are forgotten first.
const MAX_ENTRIES: usize = 65_536;
/// Bytes of their keys and results together.
const MAX_BYTES: usize = 32 << 20;
/// What an entry takes beside its key and result, roughly: its parts of the two maps.
const ENTRY_OVERHEAD_BYTES: usize = 160;
/// A larger result is not kept, only that it is done: one of them would drive out many others.
const MAX_RESULT_BYTES: usize = 1 << 20;

/// Work that is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    /// The result, where it is kept.
    pub(crate) body: Option<Bytes>,
    /// When it was done: RFC 3339, UTC.
    pub(crate) time: String,
}

/// How a delivery ended, for those of the same message that wait for it.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Done(Done),
    /// A passing fault, which another try at once would only meet again.
    Failed(Outcome),
}

/// What a delivery of a message finds.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The work is not done and not in flight: this delivery is to do it.
    Proceed(InFlight),
    /// The work is done.
    Duplicate(Done),
    /// Another delivery failed, or is still in flight.
    Busy(Outcome),
}

#[derive(Debug)]
pub(super) struct LocalDedup {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done: LruCache<Arc<str>, Done>,
    /// Bytes of the entries in `done`, see [`cost`].
    bytes: usize,
    in_flight: HashMap<Arc<str>, watch::Receiver<Option<End>>>,
}

/// One delivery's right to do a piece of work. Dropped without [`done`](Self::done) or [`failed`](Self::failed), the
/// next delivery that waits gets it.
#[derive(Debug)]
pub(super) struct InFlight {
    dedup: Arc<LocalDedup>,
    key: Arc<str>,
    end: watch::Sender<Option<End>>,
}

impl LocalDedup {
    pub(super) fn new() -> Arc<Self> {
        let state = State { done: LruCache::unbounded(), bytes: 0, in_flight: HashMap::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between the statements of a change can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out whether the work with this key is done or in flight, and waits up to `max_wait` for a delivery that
    /// is in flight.
    pub(super) async fn lookup(self: &Arc<Self>, key: &Arc<str>, max_wait: Duration) -> Lookup {
        let deadline = Instant::now() + max_wait;
        loop {
            let mut end = {
                let mut state = self.lock();
                if let Some(done) = state.done.get(key) {
                    return Lookup::Duplicate(done.clone());
                }
                match state.in_flight.get(key) {
                    Some(end) => end.clone(),
                    None => {
                        let (end, waiting) = watch::channel(None);
                        state.in_flight.insert(Arc::clone(key), waiting);
                        return Lookup::Proceed(InFlight { dedup: Arc::clone(self), key: Arc::clone(key), end });
                    }
                }
            };
            let end = match timeout_at(deadline, end.wait_for(Option::is_some)).await {
                Ok(Ok(end)) => end.clone(),
                Ok(Err(_)) => continue, // dropped without an end
                Err(_) => return Lookup::Busy(busy(Duration::from_secs(1))),
            };
            match end {
                Some(End::Done(done)) => return Lookup::Duplicate(done),
                Some(End::Failed(outcome)) => return Lookup::Busy(outcome),
                None => {}
            }
        }
    }
}

/// The outcome of a delivery while another one of the same message is in flight, here or in another process.
pub(super) fn busy(after: Duration) -> Outcome {
    Outcome::Retry { detail: "another delivery of this message is in flight".to_owned(), after: Some(after) }
}

impl InFlight {
    /// The work is done: deliveries that wait, and those that come later, are its duplicates.
    pub(super) fn done(self, mut done: Done) {
        let shared = done.clone();
        done.body = done.body.filter(|body| body.len() <= MAX_RESULT_BYTES);
        self.dedup.lock().remember(Arc::clone(&self.key), done);
        self.end.send_replace(Some(End::Done(shared)));
    }

    /// The work failed for a passing reason. Deliveries that wait share this outcome; later ones try again.
    pub(super) fn failed(self, outcome: Outcome) {
        self.end.send_replace(Some(End::Failed(outcome)));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.dedup.lock().in_flight.remove(&self.key);
    }
}

impl State {
    fn remember(&mut self, key: Arc<str>, done: Done) {
        self.bytes += cost(&key, &done);
        if let Some((key, replaced)) = self.done.push(key, done) {
            self.bytes -= cost(&key, &replaced);
        }
        while self.done.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some((key, oldest)) = self.done.pop_lru() else { break };
            self.bytes -= cost(&key, &oldest);
        }
    }
}

/// Bytes that an entry takes, roughly.
fn cost(key: &str, done: &Done) -> usize {
    key.len() + done.body.as_ref().map_or(0, Bytes::len) + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WAIT: Duration = Duration::from_secs(5);

    fn done(body: &'static str) -> Done {
        Done { body: Some(Bytes::from_static(body.as_bytes())), time: "t".into() }
    }

    async fn first(dedup: &Arc<LocalDedup>, name: &str) -> InFlight {
        match dedup.lookup(&name.into(), MAX_WAIT).await {
            Lookup::Proceed(in_flight) => in_flight,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn deliveries_wait_for_the_first_and_share_its_end() {
        let dedup = LocalDedup::new();
        for (end, expected) in [(Some(done("1")), None), (None, Some(Outcome::retry("not now")))] {
            let name: Arc<str> = if end.is_some() { "a".into() } else { "b".into() };
            let in_flight = first(&dedup, &name).await;
            let copies: Vec<_> = (0..5)
                .map(|_| {
                    let (dedup, name) = (Arc::clone(&dedup), Arc::clone(&name));
                    tokio::spawn(async move { dedup.lookup(&name, MAX_WAIT).await })
                })
                .collect();
            tokio::task::yield_now().await;
            match &expected {
                None => in_flight.done(done("1")),
                Some(outcome) => in_flight.failed(outcome.clone()),
            }
            for copy in copies {
                match (copy.await.unwrap(), &expected) {
                    (Lookup::Duplicate(found), None) => assert_eq!(found, done("1")),
                    (Lookup::Busy(found), Some(outcome)) => assert_eq!(&found, outcome),
                    other => panic!("{other:?}"),
                }
            }
        }
        // A fault is not remembered, and a result is.
        assert!(matches!(dedup.lookup(&"a".into(), MAX_WAIT).await, Lookup::Duplicate(_)));
        drop(first(&dedup, "b").await);
        assert!(dedup.lock().in_flight.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_delivery_takes_over_from_one_that_was_dropped_and_waiting_is_bounded() {
        let dedup = LocalDedup::new();
        let in_flight = first(&dedup, "a").await;
        let (other, name) = (Arc::clone(&dedup), Arc::<str>::from("a"));
        let copy = tokio::spawn(async move { other.lookup(&name, MAX_WAIT).await });
        tokio::task::yield_now().await;
        drop(in_flight);
        let Lookup::Proceed(_in_flight) = copy.await.unwrap() else { panic!("not the first") };
        match dedup.lookup(&"a".into(), MAX_WAIT).await {
            Lookup::Busy(Outcome::Retry { after: Some(_), .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_entries_and_bytes() {
        let dedup = LocalDedup::new();
        for n in 0..MAX_ENTRIES + 10 {
            first(&dedup, &n.to_string()).await.done(Done { body: None, time: String::new() });
        }
        assert_eq!(dedup.lock().done.len(), MAX_ENTRIES);
        let body = Bytes::from(vec![b'1'; MAX_RESULT_BYTES]);
        for n in 0..100 {
            first(&dedup, &format!("large-{n}")).await.done(Done { body: Some(body.clone()), time: String::new() });
            let state = dedup.lock();
            let counted: usize = state.done.iter().map(|(key, done)| cost(key, done)).sum();
            assert!(state.bytes <= MAX_BYTES && state.bytes == counted);
        }
        // The latest is there, the oldest is not.
        assert!(matches!(dedup.lookup(&"large-99".into(), MAX_WAIT).await, Lookup::Duplicate(_)));
        assert!(matches!(dedup.lookup(&"0".into(), MAX_WAIT).await, Lookup::Proceed(_)));
        let larger = Done { body: Some(vec![b'1'; MAX_RESULT_BYTES + 1].into()), time: String::new() };
        first(&dedup, "larger").await.done(larger);
        assert!(matches!(dedup.lookup(&"larger".into(), MAX_WAIT).await, Lookup::Duplicate(Done { body: None, .. })));
    }
}
