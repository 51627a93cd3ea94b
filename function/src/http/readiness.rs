//! Whether requests should come to this process.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether requests should come here: after the model has run once, and until the process shuts down.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    warm: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// The model has run once.
    pub(crate) fn set_warm(&self) {
        self.warm.store(true, Ordering::Release);
    }

    /// The stop signal has arrived.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.warm.load(Ordering::Acquire) && !self.is_draining()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
