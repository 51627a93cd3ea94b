//! The thread that gives up batches which run too long.
//!
//! A thread that hangs cannot be ended. After [`run_time`](super::limits::Limits::run_time) the watchdog answers the messages
//! of its batch with `Retry` and starts another worker instead. It does so until [`MAX_HUNG_WORKERS`] threads hang;
//! then the process says that it is not live, so that the platform replaces it, and a last worker that hangs has no
//! successor.

use std::time::Instant;

use super::pool::{MAX_HUNG_WORKERS, Pool, UnansweredBatch};
use super::{Arc, PoisonError};
use crate::Outcome;

impl Pool {
    /// Gives up batches at their deadlines until the pool is closed.
    pub(super) fn watch(self: Arc<Self>) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            state = match state.unanswered.iter().map(|batch| batch.deadline).min() {
                None => {
                    state.watchdog_idle = true;
                    self.batch_begun.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
                Some(deadline) if deadline > now => {
                    self.batch_begun.wait_timeout(state, deadline - now).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    drop(state);
                    self.give_up_overdue(now);
                    self.lock()
                }
            };
        }
    }

    /// Gives up the batches whose deadline has come: answers their messages, and replaces their workers.
    pub(super) fn give_up_overdue(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        let overdue: Vec<UnansweredBatch> = state.unanswered.extract_if(.., |batch| batch.deadline <= now).collect();
        let replaced = overdue.len().min(MAX_HUNG_WORKERS.saturating_sub(state.hung + overdue.len()));
        state.hung += overdue.len();
        state.workers -= overdue.len() - replaced;
        drop(state);
        for _ in 0..replaced {
            if let Err(error) = self.add_worker() {
                tracing::error!(%error, "cannot start a thread to replace one that hangs");
            }
        }
        let limit = self.limits.run_time;
        for batch in overdue {
            self.metrics.hung();
            tracing::error!(messages = batch.replies.len(), ?limit, "a task hangs; its messages are given up");
            for reply in batch.replies {
                let _ = reply.send(Outcome::retry(format!("the task did not end within {limit:?}")));
            }
        }
        self.refuse_without_workers();
    }

    /// If no worker is left, answers what is queued: nothing would ever run it.
    fn refuse_without_workers(&self) {
        let mut state = self.lock();
        let mut left = Vec::new();
        if state.workers == 0 {
            left.extend(state.rerun_alone.drain(..).map(|(_, job)| job));
            while let Some(batch) = state.queue.next_batch() {
                left.extend(batch.jobs);
            }
            self.metrics.queue_tokens(0);
        }
        drop(state);
        for job in left {
            let _ = job.reply.send(Outcome::retry("tasks hang in this instance; another one takes the message"));
        }
    }
}
