//! Queue capacity for transports that can wait for it.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The tokens of the queue that pulled messages may fill. First come, first served, so that small messages cannot
/// overtake a large one again and again.
pub(crate) struct QueuePermits {
    tokens: Semaphore,
    capacity: u32,
}

impl QueuePermits {
    /// `tokens` is the capacity of the queue.
    pub(crate) fn new(tokens: usize) -> Self {
        let capacity = u32::try_from(tokens.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { tokens: Semaphore::new(capacity as usize), capacity }
    }

    /// Waits until work of this cost fits; its tokens are free again when the permit is dropped. Work that exceeds the
    /// whole capacity waits for all of it, and the queue then rejects it.
    pub(crate) async fn acquire(&self, cost: usize) -> Option<SemaphorePermit<'_>> {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX).min(self.capacity);
        self.tokens.acquire_many(cost).await.ok() // never closed
    }
}
