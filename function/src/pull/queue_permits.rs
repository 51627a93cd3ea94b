//! Permits for room in the queue, for those who can wait for it.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The tokens of the queue that pulled messages may fill. First come, first served, so that a large message gets its turn.
pub(crate) struct QueuePermits {
    tokens: Semaphore,
    size: u32,
}

impl QueuePermits {
    pub(super) fn new(tokens: usize) -> Self {
        let size = u32::try_from(tokens.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { tokens: Semaphore::new(size as usize), size }
    }

    /// Waits until work of this cost fits; the room is taken until the permit is dropped. Work that never fits waits for all of
    /// it, and is then for the queue to refuse.
    pub(crate) async fn acquire(&self, cost: usize) -> Option<SemaphorePermit<'_>> {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX).min(self.size);
        self.tokens.acquire_many(cost).await.ok() // never closed
    }
}
