//! What the worker threads share: the queue, the batches that run, and the averages that decisions are made by.
//!
//! This file is the side that requests see: [`push`](Pool::push), [`remove`](Pool::remove),
//! [`refusal`](Pool::refusal), which is in [`overload`](super::overload). The threads are in [`worker`](super::worker) and [`watchdog`](super::watchdog).
//!
//! # Invariants
//!
//! One mutex guards the whole [`State`], and no task runs and no input is dropped while it is held.
//!
//! - A job's reply is in exactly one of three lists: `queue`, `rerun_alone`, or the [`UnansweredBatch`] of the batch
//!   it runs in. The thread that takes it out answers it. So every message is answered once, even if its batch returns after
//!   it was given up.
//! - `workers` counts threads that run or wait for work; a thread whose batch was given up is counted in `hung`
//!   instead, until its task returns after all.
//! - While there is work, either no worker is idle or one is being woken (`waking`). See
//!   [`claim_idle_worker`](State::claim_idle_worker).

use std::time::Instant;

use tokio::sync::oneshot;

use super::limits::Limits;
use super::queue::{Queue, Ticket};
use super::sync::{Condvar, Mutex, MutexGuard, spawn};
use super::{Arc, PoisonError};
use crate::Outcome;
use crate::task::{AnyInput, AnyTask, Work};
use crate::telemetry::Metrics;

/// The process counts as broken once this many threads hang.
pub(super) const MAX_HUNG_WORKERS: usize = 3;

/// Average number of messages in a batch above which waking a worker is delayed until the requests that have already
/// been received are queued too. Below it a message most likely runs alone, and the delay would gain nothing.
const DELAY_WAKE_ABOVE: f64 = 1.5;

pub(super) struct Pool {
    pub(super) tasks: Arc<[Box<dyn AnyTask>]>,
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Wakes idle workers: there is work, or the pool is closed.
    pub(super) work_arrived: Condvar,
    /// Wakes the watchdog: a batch has begun while none ran, or the pool is closed.
    pub(super) batch_begun: Condvar,
}

pub(super) struct State {
    pub(super) queue: Queue<Job>,
    /// Jobs of batches that failed as a whole, with their task. Each runs alone, before anything in the queue; the
    /// last is next.
    pub(super) rerun_alone: Vec<(usize, Job)>,
    pub(super) unanswered: Vec<UnansweredBatch>,
    pub(super) next_batch_id: u64,
    /// Threads that run or wait for work; those that hang are not among them.
    pub(super) workers: usize,
    pub(super) hung: usize,
    /// Workers that wait for work.
    pub(super) idle: usize,
    /// Idle workers that were notified but are not running yet; one notification covers everything queued until they
    /// start.
    pub(super) waking: usize,
    /// The watchdog waits for a batch to begin and has to be notified of it.
    pub(super) watchdog_idle: bool,
    /// Tokens of a queued message: a moving average over about 64 messages.
    pub(super) average_cost: f64,
    /// Messages in a batch: a moving average over about 8 batches.
    pub(super) average_batch_len: f64,
    /// Speed of one worker: a moving average over about 5 batches, zero until one has run.
    pub(super) tokens_per_second: f64,
    pub(super) closed: bool,
}

/// Work that waits to be run.
pub(super) struct Job {
    pub(super) input: AnyInput,
    pub(super) reply: Reply,
}

pub(super) type Reply = oneshot::Sender<Outcome>;

/// The inputs of a batch, which its worker owns while they run. The senders that wait for them are in the
/// [`UnansweredBatch`] of the same id.
pub(super) struct RunningBatch {
    pub(super) id: u64,
    pub(super) task: usize,
    pub(super) tokens: usize,
    pub(super) inputs: Vec<AnyInput>,
}

/// A batch that has begun and whose messages have no outcome yet. The thread that removes it from the state, its
/// worker or the watchdog, answers them.
pub(super) struct UnansweredBatch {
    pub(super) id: u64,
    /// When the watchdog gives it up.
    pub(super) deadline: Instant,
    pub(super) replies: Vec<Reply>,
}

impl Pool {
    /// Starts the worker threads and the watchdog. They end after [`close`](Self::close).
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(
        tasks: Arc<[Box<dyn AnyTask>]>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Arc<Self>> {
        let workers = limits.workers.max(1);
        let state = State {
            queue: Queue::new(tasks.len(), limits.batch_tokens),
            rerun_alone: Vec::new(),
            unanswered: Vec::new(),
            next_batch_id: 0,
            workers,
            hung: 0,
            idle: 0,
            waking: 0,
            watchdog_idle: false,
            average_cost: 0.0,
            average_batch_len: 1.0,
            tokens_per_second: 0.0,
            closed: false,
        };
        let (work_arrived, batch_begun) = (Condvar::new(), Condvar::new());
        let pool = Arc::new(Self { tasks, limits, metrics, state: Mutex::new(state), work_arrived, batch_begun });
        let started = (0..workers).try_for_each(|_| pool.add_worker());
        let started = started.and_then(|()| {
            let watchdog = Arc::clone(&pool);
            spawn("batch-watchdog", move || watchdog.watch())
        });
        // If one thread did not start, those that did must end.
        started.inspect_err(|_| pool.close())?;
        Ok(pool)
    }

    /// Lets workers finish what is queued and then ends all threads.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work_arrived.notify_all();
        self.batch_begun.notify_all();
    }

    /// Whether this process can still be expected to run tasks; not once [`MAX_HUNG_WORKERS`] threads hang.
    pub(super) fn is_live(&self) -> bool {
        let state = self.lock();
        state.hung < MAX_HUNG_WORKERS && state.workers > 0
    }

    /// Queues the work and returns its ticket, or the outcome if it was refused.
    ///
    /// If the flag is true an idle worker still has to be woken with [`wake_worker`](Self::wake_worker); yield first,
    /// so that requests already received can join the batch.
    pub(super) fn push(
        &self,
        task: usize,
        work: Work<AnyInput>,
        run_alone: bool,
        reply: Reply,
    ) -> Result<(Ticket, bool), Outcome> {
        let capacity = self.limits.queue_tokens;
        let mut state = self.lock();
        if state.closed {
            return Err(Outcome::retry("this instance is shutting down"));
        }
        if work.cost > capacity {
            let detail =
                format!("the message costs {} tokens, and at most {capacity} fit in the queue; split it", work.cost);
            return Err(Outcome::rejected("message-too-large", detail));
        }
        if state.workers == 0 {
            return Err(Outcome::retry("tasks hang in this instance; another one takes the message"));
        }
        if let Some(refusal) = state.refusal(work.cost, &self.limits) {
            return Err(refusal);
        }
        let job = Job { input: work.input, reply };
        let queued = state.queue.push(task, work.cost, run_alone, Instant::now(), job);
        let ticket = queued.ok_or_else(|| Outcome::retry("there is no such task"))?;
        state.average_cost += (work.cost as f64 - state.average_cost) / 64.0;
        self.metrics.queue_tokens(state.queue.tokens());
        let claimed = state.claim_idle_worker();
        let wake_later = claimed && state.average_batch_len > DELAY_WAKE_ABOVE;
        drop(state);
        if claimed && !wake_later {
            self.wake_worker();
        }
        Ok((ticket, wake_later))
    }

    /// Takes a job out of the queue whose sender no longer waits for it.
    pub(super) fn remove(&self, ticket: &Ticket) {
        let mut state = self.lock();
        let removed = state.queue.remove(ticket);
        self.metrics.queue_tokens(state.queue.tokens());
        drop(state);
        drop(removed); // dropping an input may take long
    }

    /// Wakes the idle worker that was [claimed](State::claim_idle_worker).
    pub(super) fn wake_worker(&self) {
        self.work_arrived.notify_one();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements, and tasks run outside the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tokens in the queue.
    #[cfg(test)]
    pub(super) fn tokens(&self) -> usize {
        self.lock().queue.tokens()
    }

    /// Workers that wait for work.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().idle
    }
}

impl State {
    /// Claims an idle worker that is not being woken yet, if there is one. The caller then has to
    /// [wake](Pool::wake_worker) it.
    pub(super) fn claim_idle_worker(&mut self) -> bool {
        let claimed = self.idle > self.waking;
        self.waking += usize::from(claimed);
        claimed
    }
}
