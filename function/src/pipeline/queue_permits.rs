//! Permits for room in the batch queue.
//!
//! A pushed message that finds the queue full is refused, and Pub/Sub sends it again later. For a pulled message that
//! would only use up delivery attempts: it is here already, and its lease is extended. So pulled messages wait until
//! their cost fits.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The tokens of the queue that pulled messages may fill. First come, first served, so that a large message is not
/// starved by small ones.
pub(crate) struct QueuePermits {
    tokens: Semaphore,
    capacity: u32,
}

impl QueuePermits {
    /// As many permits as the queue holds tokens.
    pub(crate) fn new(queue_tokens: usize) -> Self {
        let capacity = u32::try_from(queue_tokens.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { tokens: Semaphore::new(capacity as usize), capacity }
    }

    /// Waits until work of this cost fits; the room is taken until the permit is dropped. Work that is larger than
    /// the queue waits for all of it, and is then for the queue to refuse.
    pub(crate) async fn acquire(&self, cost: usize) -> Option<SemaphorePermit<'_>> {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX).min(self.capacity);
        self.tokens.acquire_many(cost).await.ok() // never closed
    }
}
