//! How much may wait and run at once.

use std::time::Duration;

/// How much may wait and run at once. Tokens are the cost that tasks give their messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most tokens of a batch; a message larger than that runs alone.
    pub(crate) batch_tokens: usize,
    /// Most tokens waiting; a message that would exceed it is `Overloaded` at once.
    pub(crate) queue_tokens: usize,
    /// How long the first message of a batch may wait for others; zero unless a task gains more from large batches
    /// than from speed.
    pub(crate) wait: Duration,
    /// Threads that run batches: one for tasks that compute, more for tasks that wait for something.
    pub(crate) workers: usize,
    /// How long a task may run on one batch before the watchdog gives its messages up.
    pub(crate) run_time: Duration,
}
