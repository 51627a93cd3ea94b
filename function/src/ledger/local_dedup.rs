//! What this process knows by itself: which work it has under way, and what it has done lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::Outcome;

/// Completed pieces of work that are remembered.
const MAX_ENTRIES: usize = 65_536;
/// Bytes of their names and results together.
const MAX_BYTES: usize = 32 << 20;
/// What an entry costs beside its name and result: the two maps' own parts of it, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 160;
/// A larger result is not kept, though that it is done is: one would drive out many.
const MAX_RESULT_BYTES: usize = 1 << 20;

/// Work that is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    /// The result, where it is kept.
    pub(crate) body: Option<Bytes>,
    /// When it was done: RFC 3339, UTC.
    pub(crate) time: String,
}

/// How the first of several copies ended, for those that waited for it.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Done(Done),
    /// A passing fault, which another try at once would only meet again.
    Failed(Outcome),
}

/// What a copy of a message finds.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Nobody is at it: it is this copy's.
    Proceed(InFlight),
    Duplicate(Done),
    /// Another copy failed, or is at it still.
    Busy(Outcome),
}

#[derive(Debug)]
pub(super) struct LocalDedup {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done: LruCache<Arc<str>, Done>,
    /// Of the entries in `done`.
    bytes: usize,
    in_flight: HashMap<Arc<str>, watch::Receiver<Option<End>>>,
}

/// One copy's hold on a piece of work. Dropped without [`done`](Self::done) or [`passing`](Self::passing), the next copy that
/// waits has it.
#[derive(Debug)]
pub(super) struct InFlight {
    dedup: Arc<LocalDedup>,
    name: Arc<str>,
    ended: watch::Sender<Option<End>>,
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

    /// Finds out whose work this is, and waits up to `patience` where another copy has it.
    pub(super) async fn lookup(self: &Arc<Self>, name: &Arc<str>, patience: Duration) -> Lookup {
        let until = Instant::now() + patience;
        loop {
            let mut ended = {
                let mut state = self.lock();
                if let Some(done) = state.done.get(name) {
                    return Lookup::Duplicate(done.clone());
                }
                match state.in_flight.get(name) {
                    Some(ended) => ended.clone(),
                    None => {
                        let (ended, waiting) = watch::channel(None);
                        state.in_flight.insert(Arc::clone(name), waiting);
                        return Lookup::Proceed(InFlight { dedup: Arc::clone(self), name: Arc::clone(name), ended });
                    }
                }
            };
            let end = match timeout_at(until, ended.wait_for(Option::is_some)).await {
                Ok(Ok(end)) => end.clone(),
                Ok(Err(_)) => continue, // its holder is gone
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

/// The outcome of a message whose other copy is at work.
pub(super) fn busy(after: Duration) -> Outcome {
    Outcome::Retry { detail: "another delivery of this message is at work".to_owned(), after: Some(after) }
}

impl InFlight {
    /// The work is done: copies that wait, and those that come later, have it.
    pub(super) fn done(self, mut done: Done) {
        let shared = done.clone();
        done.body = done.body.filter(|body| body.len() <= MAX_RESULT_BYTES);
        self.dedup.lock().keep(Arc::clone(&self.name), done);
        self.end(End::Done(shared));
    }

    /// The work failed for a passing reason, which copies that wait share.
    pub(super) fn failed(self, outcome: Outcome) {
        self.end(End::Failed(outcome));
    }

    fn end(self, end: End) {
        self.ended.send_replace(Some(end));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.dedup.lock().in_flight.remove(&self.name);
    }
}

impl State {
    fn keep(&mut self, name: Arc<str>, done: Done) {
        self.bytes += cost(&name, &done);
        if let Some((name, before)) = self.done.push(name, done) {
            self.bytes -= cost(&name, &before);
        }
        while self.done.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some((name, oldest)) = self.done.pop_lru() else { break };
            self.bytes -= cost(&name, &oldest);
        }
    }
}

fn cost(name: &str, done: &Done) -> usize {
    name.len() + done.body.as_ref().map_or(0, Bytes::len) + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn done(body: &'static str) -> Done {
        Done { body: Some(Bytes::from_static(body.as_bytes())), time: "t".into() }
    }

    async fn first(dedup: &Arc<LocalDedup>, name: &str) -> InFlight {
        match dedup.lookup(&name.into(), PATIENCE).await {
            Lookup::Proceed(in_flight) => in_flight,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn copies_wait_for_the_first_and_share_its_end() {
        let dedup = LocalDedup::new();
        for (end, expected) in [(Some(done("1")), None), (None, Some(Outcome::retry("not now")))] {
            let name: Arc<str> = if end.is_some() { "a".into() } else { "b".into() };
            let in_flight = first(&dedup, &name).await;
            let copies: Vec<_> = (0..5)
                .map(|_| {
                    let (dedup, name) = (Arc::clone(&dedup), Arc::clone(&name));
                    tokio::spawn(async move { dedup.lookup(&name, PATIENCE).await })
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
        assert!(matches!(dedup.lookup(&"a".into(), PATIENCE).await, Lookup::Duplicate(_)));
        drop(first(&dedup, "b").await);
        assert!(dedup.lock().in_flight.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_copy_has_the_place_of_one_that_is_gone_and_nobody_waits_for_ever() {
        let dedup = LocalDedup::new();
        let in_flight = first(&dedup, "a").await;
        let (other, name) = (Arc::clone(&dedup), Arc::<str>::from("a"));
        let copy = tokio::spawn(async move { other.lookup(&name, PATIENCE).await });
        tokio::task::yield_now().await;
        drop(in_flight);
        let Lookup::Proceed(_in_flight) = copy.await.unwrap() else { panic!("not the first") };
        match dedup.lookup(&"a".into(), PATIENCE).await {
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
            let counted: usize = state.done.iter().map(|(name, done)| cost(name, done)).sum();
            assert!(state.bytes <= MAX_BYTES && state.bytes == counted);
        }
        // The latest is there, the oldest is not.
        assert!(matches!(dedup.lookup(&"large-99".into(), PATIENCE).await, Lookup::Duplicate(_)));
        assert!(matches!(dedup.lookup(&"0".into(), PATIENCE).await, Lookup::Proceed(_)));
        let larger = Done { body: Some(vec![b'1'; MAX_RESULT_BYTES + 1].into()), time: String::new() };
        first(&dedup, "larger").await.done(larger);
        assert!(matches!(dedup.lookup(&"larger".into(), PATIENCE).await, Lookup::Duplicate(Done { body: None, .. })));
    }
}
