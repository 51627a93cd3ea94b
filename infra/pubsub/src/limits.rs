//! How much a local Pub/Sub keeps.

/// The most that a local Pub/Sub keeps. More is refused with RESOURCE_EXHAUSTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of messages, bookkeeping included.
    pub bytes: usize,
    /// Messages that wait in subscriptions; one that waits in two counts twice.
    pub messages: usize,
}

impl Default for Limits {
    /// 512 MiB, a million messages.
    fn default() -> Self {
        Self { bytes: 512 << 20, messages: 1_000_000 }
    }
}
