//! The threads that run batches.
//!
//! A worker takes the next batch, runs its task outside the lock, and answers every message of it. A batch that
//! panics, or has another number of outcomes than inputs, says nothing about which message caused it: its messages
//! run again one by one, and only the one that fails alone is answered with `Retry`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::pool::{Job, Pool, RunningBatch, State, UnansweredBatch};
use super::queue::Batch;
use super::sync::{MutexGuard, spawn};
use super::{Arc, PoisonError};
use crate::Outcome;
use crate::task::AnyInput;

impl Pool {
    /// Starts a thread for a worker that is already counted in `workers`.
    pub(super) fn add_worker(self: &Arc<Self>) -> std::io::Result<()> {
        let pool = Arc::clone(self);
        spawn("batch", move || pool.work()).inspect_err(|_| self.lock().workers -= 1)
    }

    fn work(&self) {
        while let Some(batch) = self.wait_for_batch() {
            // `run` catches panics of tasks itself. This is for inputs that panic when they are dropped: a worker
            // that died of it would leave every later message without an answer.
            let goes_on = catch_unwind(AssertUnwindSafe(|| self.run(batch))).unwrap_or_else(|_| {
                tracing::error!("an input panicked when it was dropped");
                true
            });
            if !goes_on {
                break;
            }
        }
    }

    /// Waits for work; `None` when the pool is closed and empty.
    fn wait_for_batch(&self) -> Option<RunningBatch> {
        let mut state = self.lock();
        loop {
            if let Some((task, job)) = state.rerun_alone.pop() {
                return Some(self.begin(state, Batch { task, tokens: 0, jobs: vec![job] }));
            }
            // How long the batch may still wait to be filled.
            let wait = match state.queue.oldest() {
                None if state.closed => return None,
                None => Duration::MAX,
                Some(_) if state.closed || state.queue.tokens() >= self.limits.batch_tokens => Duration::ZERO,
                Some(_) if self.limits.wait.is_zero() => Duration::ZERO,
                Some(oldest) => self.limits.wait.saturating_sub(oldest.elapsed()),
            };
            if wait.is_zero()
                && let Some(batch) = state.queue.next_batch()
            {
                self.metrics.queue_tokens(state.queue.tokens());
                return Some(self.begin(state, batch));
            }
            state.idle += 1;
            state = if wait == Duration::MAX {
                self.work_arrived.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.work_arrived.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            };
            state.idle -= 1;
            state.waking = state.waking.saturating_sub(1);
        }
    }

    /// Hands the batch to the watchdog, and wakes another worker if there is more work.
    fn begin(&self, mut state: MutexGuard<'_, State>, batch: Batch<Job>) -> RunningBatch {
        let id = state.next_batch_id;
        state.next_batch_id += 1;
        state.average_batch_len += (batch.jobs.len() as f64 - state.average_batch_len) / 8.0;
        let (inputs, replies) = batch.jobs.into_iter().map(|job| (job.input, job.reply)).unzip();
        state.unanswered.push(UnansweredBatch { id, deadline: Instant::now() + self.limits.run_time, replies });
        // One notification stands for all work queued until a worker starts. What this worker leaves needs another one.
        let work_left = !(state.queue.is_empty() && state.rerun_alone.is_empty());
        let wake_another = work_left && state.claim_idle_worker();
        let wake_watchdog = std::mem::take(&mut state.watchdog_idle);
        drop(state);
        if wake_another {
            self.wake_worker();
        }
        if wake_watchdog {
            self.batch_begun.notify_one();
        }
        RunningBatch { id, task: batch.task, tokens: batch.tokens, inputs }
    }

    /// Runs a batch and answers its messages. Returns whether this thread is still wanted.
    fn run(&self, batch: RunningBatch) -> bool {
        let task = &*self.tasks[batch.task];
        let inputs: Vec<&AnyInput> = batch.inputs.iter().collect();
        let start = Instant::now();
        let outcomes = catch_unwind(AssertUnwindSafe(|| task.run(&inputs)));
        let elapsed = start.elapsed().as_secs_f64();

        let mut state = self.lock();
        let Some(at) = state.unanswered.iter().position(|unanswered| unanswered.id == batch.id) else {
            // The watchdog gave this batch up and answered it. It was slow and did not hang for good: this thread can
            // work again, unless another one has replaced it.
            state.hung -= 1;
            let wanted = state.workers < self.limits.workers.max(1);
            state.workers += usize::from(wanted);
            return wanted;
        };
        let replies = state.unanswered.swap_remove(at).replies;
        if batch.tokens > 0 {
            let speed = batch.tokens as f64 / elapsed.max(1e-6);
            let average = state.tokens_per_second;
            state.tokens_per_second = if average == 0.0 { speed } else { 0.8 * average + 0.2 * speed };
        }
        let outcomes = match outcomes {
            Ok(outcomes) if outcomes.len() == replies.len() => outcomes,
            failed => {
                let rerun = replies.len() > 1;
                let replies = if rerun {
                    let jobs = batch.inputs.into_iter().zip(replies).map(|(input, reply)| Job { input, reply });
                    state.rerun_alone.extend(jobs.rev().map(|job| (batch.task, job)));
                    Vec::new()
                } else {
                    replies
                };
                drop(state);
                let what = match failed {
                    Ok(_) => "the task returned another number of outcomes than it had inputs",
                    Err(_) => "the task panicked",
                };
                tracing::error!(task = task.name(), rerun_one_by_one = rerun, "{what}");
                replies.into_iter().for_each(|reply| drop(reply.send(Outcome::retry("the task failed"))));
                return true;
            }
        };
        drop(state);
        self.metrics.batch(outcomes.len(), batch.tokens, elapsed);
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            let _ = reply.send(outcome); // the sender may no longer wait
        }
        true
    }
}
