//! Claim and completion on objects with preconditions, whatever store holds the objects.
//!
//! A piece of work has two objects: `claim/…`, written by the process that begins it, and `done/…`, written by the
//! process that has completed it. They are two because Cloud Storage allows one write a second to one name
//! (<https://cloud.google.com/storage/quotas#objects>) and most work takes less: in the ordinary case each is written
//! once.
//!
//! # Invariants
//!
//! - Of several processes that want a claim one gets it: it is written only where there is none, or over the generation
//!   that was read as stale.
//! - Completed work keeps its claim. So a process that could write a new claim knows that the work is not done, and one
//!   that has taken over a stale claim reads `done/…` once more before it begins.
//! - A claim that was taken over is therefore never deleted: its first holder may still complete the work.

use std::time::Duration;

use bytes::Bytes;

/// Attempts to take a claim that disappears each time before it is read.
const MAX_CLAIM_ATTEMPTS: usize = 3;

/// The store failed or did not answer in time. The text, for the log, says which operation failed on which object,
/// and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct StoreError(pub(super) String);

/// An object as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) generation: i64,
    /// The id of the claim that wrote it.
    pub(super) claim: String,
    /// Time since it was written, both moments by the store's clock.
    pub(super) age: Duration,
}

/// Objects with preconditions on their generation, where 0 stands for an object that does not exist.
pub(super) trait Store {
    /// Writes an object over this generation; returns the new generation, or `None` if the object has another one.
    async fn write(&self, name: &str, over: i64, claim: &str, body: Bytes) -> Result<Option<i64>, StoreError>;
    /// Reads an object; `None` if it does not exist.
    async fn read(&self, name: &str) -> Result<Option<Found>, StoreError>;
    /// Deletes this generation of an object; it is no error if that does not exist.
    async fn delete(&self, name: &str, generation: i64) -> Result<(), StoreError>;
}

/// The objects of one piece of work.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) claim: String,
    pub(super) done: String,
}

/// What an attempt to claim work led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// The work is the caller's, by this generation of the claim. A claim that was taken over must not be deleted:
    /// its first holder may still complete the work, and where there is a completion there has to be a claim.
    Ours { generation: i64, taken_over: bool },
    /// The work is done.
    Done,
    /// Another process has claimed it; how long to wait before another attempt makes sense.
    Busy(Duration),
}

/// What a claim that exists means for another delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ClaimState {
    Ours,
    Stale,
    Fresh(Duration),
}

impl Found {
    /// A claim with the caller's id is the caller's own: it was written, and the response was lost.
    fn state(&self, id: &str, stale: Duration) -> ClaimState {
        if self.claim == id {
            ClaimState::Ours
        } else if self.age > stale {
            ClaimState::Stale
        } else {
            // Work that has taken long is likely to take long: wait as long again, but no longer than until the claim
            // is stale.
            let [min, max] = [1, 30].map(Duration::from_secs);
            ClaimState::Fresh(self.age.clamp(min, max).min(stale - self.age).max(min))
        }
    }
}

/// Claims a piece of work under `id`, which no other claim has. A claim older than `stale` may be taken over.
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
            continue; // deleted since
        };
        let generation = match found.state(id, stale) {
            ClaimState::Ours => return Ok(Claimed::Ours { generation: found.generation, taken_over: false }),
            ClaimState::Fresh(after) => return Ok(Claimed::Busy(after)),
            ClaimState::Stale => store.write(&names.claim, found.generation, id, body.clone()).await?,
        };
        let Some(generation) = generation else {
            return match store.read(&names.claim).await? {
                Some(found) if found.claim == id => confirm_takeover(store, names, found.generation).await,
                _ => Ok(Claimed::Busy(Duration::from_secs(1))), // another process was quicker
            };
        };
        return confirm_takeover(store, names, generation).await;
    }
    Ok(Claimed::Busy(Duration::from_secs(1)))
}

/// Checks, after a claim was taken over, that its work was not completed between the read of `done/…` and the takeover.
async fn confirm_takeover(store: &impl Store, names: &Names, generation: i64) -> Result<Claimed, StoreError> {
    match store.read(&names.done).await? {
        Some(_) => Ok(Claimed::Done),
        None => Ok(Claimed::Ours { generation, taken_over: true }),
    }
}

/// Records that the work is done. `false` if another claim has already recorded that.
pub(super) async fn complete(store: &impl Store, names: &Names, id: &str, body: Bytes) -> Result<bool, StoreError> {
    if store.write(&names.done, 0, id, body).await?.is_some() {
        return Ok(true);
    }
    Ok(store.read(&names.done).await?.is_none_or(|found| found.claim == id))
}

#[cfg(test)]
mod tests;
