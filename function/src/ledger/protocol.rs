//! Claim and completion on objects with preconditions, whatever holds the objects.
//!
//! A piece of work has two objects: `claim/…`, written by who begins it, and `done/…`, written by who has ended it. Each is
//! written once in the ordinary case: Cloud Storage allows one write a second to one name
//! (<https://cloud.google.com/storage/quotas#objects>), and most work takes less.

use std::time::Duration;

use bytes::Bytes;

/// How often a claim that vanishes while it is looked at is tried for.
const MAX_CLAIM_ATTEMPTS: usize = 3;

/// The store did not do what it was asked, in time. Its text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct StoreError(pub(super) String);

/// An object as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) generation: i64,
    /// The claim that wrote it.
    pub(super) claim: String,
    /// Since it was written, both moments by the store's clock.
    pub(super) age: Duration,
}

/// Objects with preconditions on their generation, where 0 is an object that is not there.
pub(super) trait Store {
    /// Writes an object over this generation; returns the new generation, `None` if the object has another one.
    async fn write(&self, name: &str, over: i64, claim: &str, body: Bytes) -> Result<Option<i64>, StoreError>;
    /// Looks at an object; `None` if there is none.
    async fn read(&self, name: &str) -> Result<Option<Found>, StoreError>;
    /// Deletes this generation of an object; that it is not there is no fault.
    async fn delete(&self, name: &str, generation: i64) -> Result<(), StoreError>;
}

/// The objects of one piece of work.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) claim: String,
    pub(super) done: String,
}

/// What a claim came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// The work is the caller's, by this generation of the claim. One that was taken over is never released: its first holder
    /// may still end the work, and where there is a completion there has to be a claim.
    Ours { generation: i64, taken_over: bool },
    /// The work is done, by this claim.
    Done,
    /// Another has it; when another look makes sense.
    Busy(Duration),
}

/// What a claim that is there means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ClaimState {
    Ours,
    Stale,
    Fresh(Duration),
}

impl Found {
    /// A claim of the same id is the caller's own, whose answer was lost on the way.
    fn state(&self, id: &str, stale: Duration) -> ClaimState {
        if self.claim == id {
            ClaimState::Ours
        } else if self.age > stale {
            ClaimState::Stale
        } else {
            // The longer it takes, the longer it will take.
            let [shortest, longest] = [1, 30].map(Duration::from_secs);
            ClaimState::Fresh(self.age.clamp(shortest, longest).min(stale - self.age).max(shortest))
        }
    }
}

/// Claims a piece of work for `id`, which no other claim has.
pub(super) async fn claim(
    store: &impl Store,
    names: &Names,
    id: &str,
    body: &Bytes,
    stale: Duration,
) -> Result<Claimed, StoreError> {
    for _ in 0..MAX_CLAIM_ATTEMPTS {
        if let Some(generation) = store.write(&names.claim, 0, id, body.clone()).await? {
            return Ok(Claimed::Ours { generation, taken_over: false });
        }
        if store.read(&names.done).await?.is_some() {
            return Ok(Claimed::Done);
        }
        let Some(found) = store.read(&names.claim).await? else {
            continue; // released since
        };
        let generation = match found.state(id, stale) {
            ClaimState::Ours => return Ok(Claimed::Ours { generation: found.generation, taken_over: false }),
            ClaimState::Fresh(after) => return Ok(Claimed::Busy(after)),
            ClaimState::Stale => store.write(&names.claim, found.generation, id, body.clone()).await?,
        };
        let Some(generation) = generation else {
            return match store.read(&names.claim).await? {
                Some(found) if found.claim == id => confirm_takeover(store, names, found.generation).await,
                _ => Ok(Claimed::Busy(Duration::from_secs(1))), // someone else was quicker
            };
        };
        return confirm_takeover(store, names, generation).await;
    }
    Ok(Claimed::Busy(Duration::from_secs(1)))
}

/// A claim was taken over. Its work may have ended between the look at `done` and now.
async fn confirm_takeover(store: &impl Store, names: &Names, generation: i64) -> Result<Claimed, StoreError> {
    match store.read(&names.done).await? {
        Some(_) => Ok(Claimed::Done),
        None => Ok(Claimed::Ours { generation, taken_over: true }),
    }
}

/// Notes that the work is done. `false` if that was noted before, by another claim.
pub(super) async fn complete(store: &impl Store, names: &Names, id: &str, body: Bytes) -> Result<bool, StoreError> {
    if store.write(&names.done, 0, id, body).await?.is_some() {
        return Ok(true);
    }
    Ok(store.read(&names.done).await?.is_none_or(|found| found.claim == id))
}

#[cfg(test)]
mod tests;
