//! The threads that empty the queue, and the watch over them.
//!
//! A run that outlasts [`Limits::run_time`] is given up: its messages are answered with `Retry`, and another thread takes the
//! place of the one that hangs, which cannot be ended. After [`MAX_HUNG_WORKERS`] of those nothing more is expected of this process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::{Batch, Queue, Ticket};
use super::sync::{Condvar, Mutex, MutexGuard, spawn};
use super::{Arc, Limits, PoisonError};
use crate::Outcome;
use crate::task::{AnyInput, AnyTask, Work};
use crate::telemetry::Metrics;

/// So many threads may hang before the process counts as broken.
pub(super) const MAX_HUNG_WORKERS: usize = 3;

/// Messages of a batch on average from which it pays to wait for the requests that have arrived already.
const DELAY_WAKE_ABOVE: f64 = 1.5;

pub(super) struct Pool {
    tasks: Arc<[Box<dyn AnyTask>]>,
    limits: Limits,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// For workers: there is work, or the end.
    work_arrived: Condvar,
    /// For the watch: a run has begun while there was none, or the end.
    batch_begun: Condvar,
}

struct State {
    queue: Queue<Job>,
    /// Of batches that failed as a whole, the last one next; each runs alone.
    rerun_alone: Vec<(usize, Job)>,
    unanswered: Vec<UnansweredBatch>,
    next_batch_id: u64,
    /// Threads that work or wait for work; the others hang.
    workers: usize,
    hung: usize,
    /// Workers that sleep.
    idle: usize,
    /// Of those, how many are being woken: one call is enough for all that comes until they are there.
    waking: usize,
    /// The watch sleeps until a run begins.
    watchdog_idle: bool,
    /// Tokens of a message that was queued, a moving average.
    average_cost: f64,
    /// Messages of a batch, a moving average.
    average_batch_len: f64,
    /// Tokens a second of one worker, a moving average; zero until a batch has run.
    tokens_per_second: f64,
    closed: bool,
}

struct Job {
    input: AnyInput,
    reply: Reply,
}

type Reply = oneshot::Sender<Outcome>;

/// A call of a task that has not returned. Whoever takes it out of the state answers its messages.
struct UnansweredBatch {
    id: u64,
    until: Instant,
    replies: Vec<Reply>,
}

/// What a worker takes with it.
struct RunningBatch {
    id: u64,
    task: usize,
    tokens: usize,
    inputs: Vec<AnyInput>,
}

impl Pool {
    /// With its threads. They end after [`close`](Self::close).
    pub(super) fn start(
        tasks: Arc<[Box<dyn AnyTask>]>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Arc<Self>> {
        let state = State {
            queue: Queue::new(tasks.len(), limits.batch_tokens),
            rerun_alone: Vec::new(),
            unanswered: Vec::new(),
            next_batch_id: 0,
            workers: limits.workers.max(1),
            hung: 0,
            idle: 0,
            waking: 0,
            watchdog_idle: false,
            average_cost: 0.0,
            average_batch_len: 1.0,
            tokens_per_second: 0.0,
            closed: false,
        };
        let state = Mutex::new(state);
        let pool =
            Arc::new(Self { tasks, limits, metrics, state, work_arrived: Condvar::new(), batch_begun: Condvar::new() });
        let started = (0..limits.workers.max(1)).try_for_each(|_| pool.add_worker());
        let started = started.and_then(|()| {
            let watch = Arc::clone(&pool);
            spawn("batch-watch", move || watch.watch())
        });
        // Those that did start must end if another did not.
        started.inspect_err(|_| pool.close())?;
        Ok(pool)
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work_arrived.notify_all();
        self.batch_begun.notify_all();
    }

    /// Whether more can be expected than that every task hangs.
    pub(super) fn is_live(&self) -> bool {
        let state = self.lock();
        state.hung < MAX_HUNG_WORKERS && state.workers > 0
    }

    /// Whether a message of common size would be refused, while nobody knows yet what it costs.
    pub(super) fn refusal(&self) -> Option<Outcome> {
        let state = self.lock();
        let most = self.limits.queue_tokens;
        let likely = (state.average_cost as usize).clamp(1, (most / 64).max(1));
        (state.queue.tokens() + likely > most).then(|| state.overloaded(&self.limits))
    }

    /// Queues work, and says where; or what became of it at once. If the second part is true, a worker sleeps and only
    /// [`wake_worker`](Self::wake_worker) will wake it: soon, but others have lately come together, and had better be queued first.
    pub(super) fn push(
        &self,
        task: usize,
        work: Work<AnyInput>,
        isolate: bool,
        reply: Reply,
    ) -> Result<(Ticket, bool), Outcome> {
        let most = self.limits.queue_tokens;
        let mut state = self.lock();
        if state.closed {
            return Err(Outcome::retry("this instance is shutting down"));
        }
        if work.cost > most {
            let detail =
                format!("the message costs {} tokens, and at most {most} fit in the queue; split it", work.cost);
            return Err(Outcome::rejected("message-too-large", detail));
        }
        if state.workers == 0 {
            return Err(Outcome::retry("tasks hang in this instance; another one takes the message"));
        }
        if state.queue.tokens() + work.cost > most {
            return Err(state.overloaded(&self.limits));
        }
        let job = Job { input: work.input, reply };
        let queued = state.queue.push(task, work.cost, isolate, Instant::now(), job);
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

    /// Takes a job whose sender has gone out of the queue.
    pub(super) fn remove(&self, ticket: &Ticket) {
        let mut state = self.lock();
        let removed = state.queue.remove(ticket);
        self.metrics.queue_tokens(state.queue.tokens());
        drop(state);
        drop(removed); // an input may take its time
    }

    /// Of all that waits.
    #[cfg(test)]
    pub(super) fn tokens(&self) -> usize {
        self.lock().queue.tokens()
    }

    /// Workers that sleep.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().idle
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements, and tasks run outside the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a worker that has been counted.
    fn add_worker(self: &Arc<Self>) -> std::io::Result<()> {
        let pool = Arc::clone(self);
        spawn("batch", move || pool.work()).inspect_err(|_| self.lock().workers -= 1)
    }

    fn work(&self) {
        while let Some(batch) = self.next() {
            // Tasks are caught closer by. This is for inputs that panic when dropped: a dead worker would answer nobody.
            let goes_on = catch_unwind(AssertUnwindSafe(|| self.run(batch))).unwrap_or_else(|_| {
                tracing::error!("an input panicked when it was dropped");
                true
            });
            if !goes_on {
                break;
            }
        }
    }

    /// Waits for work; `None` when closed and empty.
    fn next(&self) -> Option<RunningBatch> {
        let mut state = self.lock();
        loop {
            if let Some((task, job)) = state.rerun_alone.pop() {
                return Some(self.begin(state, Batch { task, tokens: 0, jobs: vec![job] }));
            }
            let left = match state.queue.oldest() {
                None if state.closed => return None,
                None => Duration::MAX,
                Some(_) if state.closed || state.queue.tokens() >= self.limits.batch_tokens => Duration::ZERO,
                Some(_) if self.limits.wait.is_zero() => Duration::ZERO,
                Some(oldest) => self.limits.wait.saturating_sub(oldest.elapsed()),
            };
            if left.is_zero()
                && let Some(batch) = state.queue.next_batch()
            {
                self.metrics.queue_tokens(state.queue.tokens());
                return Some(self.begin(state, batch));
            }
            state.idle += 1;
            state = if left == Duration::MAX {
                self.work_arrived.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.work_arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
            state.idle -= 1;
            state.waking = state.waking.saturating_sub(1);
        }
    }

    /// Wakes a worker that was [claimed](State::claim_idle_worker).
    pub(super) fn wake_worker(&self) {
        self.work_arrived.notify_one();
    }

    fn begin(&self, mut state: MutexGuard<'_, State>, batch: Batch<Job>) -> RunningBatch {
        let id = state.next_batch_id;
        state.next_batch_id += 1;
        state.average_batch_len += (batch.jobs.len() as f64 - state.average_batch_len) / 8.0;
        let (inputs, replies) = batch.jobs.into_iter().map(|job| (job.input, job.reply)).unzip();
        state.unanswered.push(UnansweredBatch { id, until: Instant::now() + self.limits.run_time, replies });
        // An arrival may have woken this worker while another slept on.
        let more = !(state.queue.is_empty() && state.rerun_alone.is_empty()) && state.claim_idle_worker();
        let watchdog_idle = std::mem::take(&mut state.watchdog_idle);
        drop(state);
        if more {
            self.wake_worker();
        }
        if watchdog_idle {
            self.batch_begun.notify_one();
        }
        RunningBatch { id, task: batch.task, tokens: batch.tokens, inputs }
    }

    /// Runs a batch and answers every message of it once; whether this thread is still wanted.
    fn run(&self, batch: RunningBatch) -> bool {
        let task = &*self.tasks[batch.task];
        let inputs: Vec<&AnyInput> = batch.inputs.iter().collect();
        let start = Instant::now();
        let outcomes = catch_unwind(AssertUnwindSafe(|| task.run(&inputs)));
        let elapsed = start.elapsed().as_secs_f64();

        let mut state = self.lock();
        let Some(at) = state.unanswered.iter().position(|run| run.id == batch.id) else {
            // Given up long ago, and it was no more than slow.
            state.hung -= 1;
            let wanted = state.workers < self.limits.workers.max(1);
            state.workers += usize::from(wanted);
            return wanted;
        };
        let replies = state.unanswered.swap_remove(at).replies;
        if batch.tokens > 0 {
            let rate = batch.tokens as f64 / elapsed.max(1e-6);
            state.tokens_per_second =
                if state.tokens_per_second == 0.0 { rate } else { 0.8 * state.tokens_per_second + 0.2 * rate };
        }
        let outcomes = match outcomes {
            Ok(outcomes) if outcomes.len() == replies.len() => outcomes,
            failed => {
                // Alone each of them shows whether it was its fault.
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
                tracing::error!(task = task.name(), apart = rerun, "{what}");
                replies.into_iter().for_each(|reply| drop(reply.send(Outcome::retry("the task failed"))));
                return true;
            }
        };
        drop(state);
        self.metrics.batch(outcomes.len(), batch.tokens, elapsed);
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            let _ = reply.send(outcome); // the sender may have gone
        }
        true
    }

    /// Gives up runs that take too long.
    fn watch(self: Arc<Self>) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            state = match state.unanswered.iter().map(|run| run.until).min() {
                None => {
                    state.watchdog_idle = true;
                    self.batch_begun.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
                Some(until) if until > now => {
                    self.batch_begun.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    drop(state);
                    self.give_up(now);
                    self.lock()
                }
            };
        }
    }

    /// Gives up the runs that should have ended by now.
    pub(super) fn give_up(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        let late: Vec<UnansweredBatch> = state.unanswered.extract_if(.., |run| run.until <= now).collect();
        let replaced = late.len().min(MAX_HUNG_WORKERS.saturating_sub(state.hung + late.len()));
        state.hung += late.len();
        state.workers -= late.len() - replaced;
        drop(state);
        for _ in 0..replaced {
            if let Err(error) = self.add_worker() {
                tracing::error!(%error, "no thread for the place of one that hangs");
            }
        }
        let limit = self.limits.run_time;
        for run in late {
            self.metrics.hung();
            tracing::error!(messages = run.replies.len(), ?limit, "a task hangs; its messages are given up");
            for reply in run.replies {
                let _ = reply.send(Outcome::retry(format!("the task did not end within {limit:?}")));
            }
        }
        // With nobody left, nobody must wait.
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

impl State {
    /// Whether a worker sleeps that nobody is waking; whoever is told so has to.
    fn claim_idle_worker(&mut self) -> bool {
        let asleep = self.idle > self.waking;
        self.waking += usize::from(asleep);
        asleep
    }

    /// A refusal that says how long what waits will take at the measured rate: from 1 s, the least that `Retry-After` can
    /// say, to 30 s.
    fn overloaded(&self, limits: &Limits) -> Outcome {
        let rate = self.tokens_per_second * limits.workers.max(1) as f64;
        let seconds = if rate > 0.0 { self.queue.tokens() as f64 / rate } else { 1.0 };
        Outcome::Overloaded { after: Duration::from_secs_f64(seconds.clamp(1.0, 30.0)) }
    }
}
