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
const ENTRIES: usize = 65_536;
/// Bytes of their names and results together.
const BYTES: usize = 32 << 20;
/// What an entry costs beside its name and result: the two maps' own parts of it, roughly.
const OVERHEAD: usize = 160;
/// A larger result is not kept, though that it is done is: one would drive out many.
const MAX_BODY: usize = 1 << 20;

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
    Passing(Outcome),
}

/// What a copy of a message finds.
#[derive(Debug)]
pub(super) enum Look {
    /// Nobody is at it: it is this copy's.
    First(Place),
    Done(Done),
    /// Another copy failed, or is at it still.
    Wait(Outcome),
}

#[derive(Debug)]
pub(super) struct Known {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done: LruCache<Arc<str>, Done>,
    /// Of the entries in `done`.
    bytes: usize,
    running: HashMap<Arc<str>, watch::Receiver<Option<End>>>,
}

/// One copy's hold on a piece of work. Dropped without [`done`](Self::done) or [`passing`](Self::passing), the next copy that
/// waits has it.
#[derive(Debug)]
pub(super) struct Place {
    known: Arc<Known>,
    name: Arc<str>,
    ended: watch::Sender<Option<End>>,
}

impl Known {
    pub(super) fn new() -> Arc<Self> {
        let state = State { done: LruCache::unbounded(), bytes: 0, running: HashMap::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between the statements of a change can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out whose work this is, and waits up to `patience` where another copy has it.
    pub(super) async fn look(self: &Arc<Self>, name: &Arc<str>, patience: Duration) -> Look {
        let until = Instant::now() + patience;
        loop {
            let mut ended = {
                let mut state = self.lock();
                if let Some(done) = state.done.get(name) {
                    return Look::Done(done.clone());
                }
                match state.running.get(name) {
                    Some(ended) => ended.clone(),
                    None => {
                        let (ended, waiting) = watch::channel(None);
                        state.running.insert(Arc::clone(name), waiting);
                        return Look::First(Place { known: Arc::clone(self), name: Arc::clone(name), ended });
                    }
                }
            };
            let end = match timeout_at(until, ended.wait_for(Option::is_some)).await {
                Ok(Ok(end)) => end.clone(),
                Ok(Err(_)) => continue, // its holder is gone
                Err(_) => return Look::Wait(busy(Duration::from_secs(1))),
            };
            match end {
                Some(End::Done(done)) => return Look::Done(done),
                Some(End::Passing(outcome)) => return Look::Wait(outcome),
                None => {}
            }
        }
    }
}

/// The outcome of a message whose other copy is at work.
pub(super) fn busy(after: Duration) -> Outcome {
    Outcome::Retry { detail: "another delivery of this message is at work".to_owned(), after: Some(after) }
}

impl Place {
    /// The work is done: copies that wait, and those that come later, have it.
    pub(super) fn done(self, mut done: Done) {
        let shared = done.clone();
        done.body = done.body.filter(|body| body.len() <= MAX_BODY);
        self.known.lock().keep(Arc::clone(&self.name), done);
        self.end(End::Done(shared));
    }

    /// The work failed for a passing reason, which copies that wait share.
    pub(super) fn passing(self, outcome: Outcome) {
        self.end(End::Passing(outcome));
    }

    fn end(self, end: End) {
        self.ended.send_replace(Some(end));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.known.lock().running.remove(&self.name);
    }
}

impl State {
    fn keep(&mut self, name: Arc<str>, done: Done) {
        self.bytes += cost(&name, &done);
        if let Some((name, before)) = self.done.push(name, done) {
            self.bytes -= cost(&name, &before);
        }
        while self.done.len() > ENTRIES || self.bytes > BYTES {
            let Some((name, oldest)) = self.done.pop_lru() else { break };
            self.bytes -= cost(&name, &oldest);
        }
    }
}

fn cost(name: &str, done: &Done) -> usize {
    name.len() + done.body.as_ref().map_or(0, Bytes::len) + OVERHEAD
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn done(body: &'static str) -> Done {
        Done { body: Some(Bytes::from_static(body.as_bytes())), time: "t".into() }
    }

    async fn first(known: &Arc<Known>, name: &str) -> Place {
        match known.look(&name.into(), PATIENCE).await {
            Look::First(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn copies_wait_for_the_first_and_share_its_end() {
        let known = Known::new();
        for (end, expected) in [(Some(done("1")), None), (None, Some(Outcome::retry("not now")))] {
            let name: Arc<str> = if end.is_some() { "a".into() } else { "b".into() };
            let place = first(&known, &name).await;
            let copies: Vec<_> = (0..5)
                .map(|_| {
                    let (known, name) = (Arc::clone(&known), Arc::clone(&name));
                    tokio::spawn(async move { known.look(&name, PATIENCE).await })
                })
                .collect();
            tokio::task::yield_now().await;
            match &expected {
                None => place.done(done("1")),
                Some(outcome) => place.passing(outcome.clone()),
            }
            for copy in copies {
                match (copy.await.unwrap(), &expected) {
                    (Look::Done(found), None) => assert_eq!(found, done("1")),
                    (Look::Wait(found), Some(outcome)) => assert_eq!(&found, outcome),
                    other => panic!("{other:?}"),
                }
            }
        }
        // A fault is not remembered, and a result is.
        assert!(matches!(known.look(&"a".into(), PATIENCE).await, Look::Done(_)));
        drop(first(&known, "b").await);
        assert!(known.lock().running.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_copy_has_the_place_of_one_that_is_gone_and_nobody_waits_for_ever() {
        let known = Known::new();
        let place = first(&known, "a").await;
        let (other, name) = (Arc::clone(&known), Arc::<str>::from("a"));
        let copy = tokio::spawn(async move { other.look(&name, PATIENCE).await });
        tokio::task::yield_now().await;
        drop(place);
        let Look::First(_place) = copy.await.unwrap() else { panic!("not the first") };
        match known.look(&"a".into(), PATIENCE).await {
            Look::Wait(Outcome::Retry { after: Some(_), .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_entries_and_bytes() {
        let known = Known::new();
        for n in 0..ENTRIES + 10 {
            first(&known, &n.to_string()).await.done(Done { body: None, time: String::new() });
        }
        assert_eq!(known.lock().done.len(), ENTRIES);
        let body = Bytes::from(vec![b'1'; MAX_BODY]);
        for n in 0..100 {
            first(&known, &format!("large-{n}")).await.done(Done { body: Some(body.clone()), time: String::new() });
            let state = known.lock();
            let counted: usize = state.done.iter().map(|(name, done)| cost(name, done)).sum();
            assert!(state.bytes <= BYTES && state.bytes == counted);
        }
        // The latest is there, the oldest is not.
        assert!(matches!(known.look(&"large-99".into(), PATIENCE).await, Look::Done(_)));
        assert!(matches!(known.look(&"0".into(), PATIENCE).await, Look::First(_)));
        let larger = Done { body: Some(vec![b'1'; MAX_BODY + 1].into()), time: String::new() };
        first(&known, "larger").await.done(larger);
        assert!(matches!(known.look(&"larger".into(), PATIENCE).await, Look::Done(Done { body: None, .. })));
    }
}
