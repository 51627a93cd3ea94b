//! A subscription's settings, as its queue reads them.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct QueueConfig {
    /// How long a delivered message may stay unacknowledged.
    pub(crate) ack_deadline: Duration,
    /// Whether ordering keys are honoured.
    pub(crate) ordered: bool,
    /// Whether delivery is exactly once: acknowledgements after the deadline fail.
    pub(crate) exactly_once: bool,
    /// The wait before a failed message is delivered again; `None` redelivers at once.
    pub(crate) backoff: Option<Backoff>,
    /// After how many failed deliveries a message is a dead letter.
    pub(crate) max_attempts: Option<u32>,
    /// How long an unacknowledged message is kept.
    pub(crate) retention: Duration,
    /// Whether acknowledged messages are kept that long too, for a seek.
    pub(crate) retain_acked: bool,
}

impl QueueConfig {
    /// How long a message waits after this many failures: the minimum, doubled with each failure up to the maximum.
    pub(super) fn backoff_after(&self, failures: u32) -> Duration {
        let Some(Backoff { minimum, maximum }) = self.backoff else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        minimum.saturating_mul(factor).min(maximum)
    }
}

/// The bounds of an exponential backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) minimum: Duration,
    pub(crate) maximum: Duration,
}
