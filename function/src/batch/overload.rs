//! When the queue is full, and for how long a refused message should wait. The outcome `Overloaded` is 429 over HTTP.

use std::time::Duration;

use super::limits::Limits;
use super::pool::{Pool, State};
use crate::Outcome;

/// The shortest and the longest wait that an `Overloaded` outcome asks for. `Retry-After` counts whole seconds.
const OVERLOADED_SECONDS: (f64, f64) = (1.0, 30.0);

impl Pool {
    /// `Overloaded` if a message of average cost would not fit in the queue. Lets a caller refuse a message before it
    /// spends anything on finding out the real cost.
    pub(super) fn refusal(&self) -> Option<Outcome> {
        let state = self.lock();
        let likely_cost = (state.average_cost as usize).clamp(1, (self.limits.queue_tokens / 64).max(1));
        state.refusal(likely_cost, &self.limits)
    }
}

impl State {
    /// `Overloaded` if a message of this cost, in tokens, does not fit in the queue.
    pub(super) fn refusal(&self, cost: usize, limits: &Limits) -> Option<Outcome> {
        (self.queue.tokens() + cost > limits.queue_tokens).then(|| self.overloaded(limits))
    }

    /// A refusal that says how long it takes to run what is queued, at the measured speed.
    fn overloaded(&self, limits: &Limits) -> Outcome {
        let tokens_per_second = self.tokens_per_second * limits.workers.max(1) as f64;
        let seconds =
            if tokens_per_second > 0.0 { self.queue.tokens() as f64 / tokens_per_second } else { OVERLOADED_SECONDS.0 };
        let seconds = seconds.clamp(OVERLOADED_SECONDS.0, OVERLOADED_SECONDS.1);
        Outcome::Overloaded { after: Duration::from_secs_f64(seconds) }
    }
}
