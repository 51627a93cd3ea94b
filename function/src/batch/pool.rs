//! The threads that empty the queue, and the watch over them.
//!
//! A run that outlasts [`Bounds::run_time`] is given up: its messages are answered with `Retry`, and another thread takes the
//! place of the one that hangs, which cannot be ended. After [`HUNG`] of those nothing more is expected of this process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::{Batch, Queue, Ticket};
use super::sync::{Condvar, Mutex, MutexGuard, spawn};
use super::{Arc, Bounds, PoisonError};
use crate::Outcome;
use crate::task::{AnyInput, AnyTask, Work};
use crate::telemetry::Metrics;

/// So many threads may hang before the process counts as broken.
pub(super) const HUNG: usize = 3;

/// Messages of a batch on average from which it pays to wait for the requests that have arrived already.
const COMPANY: f64 = 1.5;

pub(super) struct Pool {
    tasks: Arc<[Box<dyn AnyTask>]>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// For workers: there is work, or the end.
    arrival: Condvar,
    /// For the watch: a run has begun while there was none, or the end.
    begun: Condvar,
}

struct State {
    queue: Queue<Job>,
    /// Of batches that failed as a whole, the last one next; each runs alone.
    apart: Vec<(usize, Job)>,
    running: Vec<Run>,
    next_run: u64,
    /// Threads that work or wait for work; the others hang.
    workers: usize,
    hung: usize,
    /// Workers that sleep.
    idle: usize,
    /// Of those, how many are being woken: one call is enough for all that comes until they are there.
    called: usize,
    /// The watch sleeps until a run begins.
    unwatched: bool,
    /// Tokens of a message that was queued, a moving average.
    cost: f64,
    /// Messages of a batch, a moving average.
    company: f64,
    /// Tokens a second of one worker, a moving average; zero until a batch has run.
    rate: f64,
    closed: bool,
}

struct Job {
    input: AnyInput,
    reply: Reply,
}

type Reply = oneshot::Sender<Outcome>;

/// A call of a task that has not returned. Whoever takes it out of the state answers its messages.
struct Run {
    id: u64,
    until: Instant,
    replies: Vec<Reply>,
}

/// What a worker takes with it.
struct Call {
    id: u64,
    task: usize,
    tokens: usize,
    inputs: Vec<AnyInput>,
}

impl Pool {
    /// With its threads. They end after [`close`](Self::close).
    pub(super) fn start(
        tasks: Arc<[Box<dyn AnyTask>]>,
        bounds: Bounds,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Arc<Self>> {
        let state = State {
            queue: Queue::new(tasks.len(), bounds.batch_tokens),
            apart: Vec::new(),
            running: Vec::new(),
            next_run: 0,
            workers: bounds.workers.max(1),
            hung: 0,
            idle: 0,
            called: 0,
            unwatched: false,
            cost: 0.0,
            company: 1.0,
            rate: 0.0,
            closed: false,
        };
        let state = Mutex::new(state);
        let pool = Arc::new(Self { tasks, bounds, metrics, state, arrival: Condvar::new(), begun: Condvar::new() });
        let started = (0..bounds.workers.max(1)).try_for_each(|_| pool.add_worker());
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
        self.arrival.notify_all();
        self.begun.notify_all();
    }

    /// Whether more can be expected than that every task hangs.
    pub(super) fn is_live(&self) -> bool {
        let state = self.lock();
        state.hung < HUNG && state.workers > 0
    }

    /// Whether a message of common size would be refused, while nobody knows yet what it costs.
    pub(super) fn refusal(&self) -> Option<Outcome> {
        let state = self.lock();
        let most = self.bounds.queue_tokens;
        let likely = (state.cost as usize).clamp(1, (most / 64).max(1));
        (state.queue.tokens() + likely > most).then(|| state.overloaded(&self.bounds))
    }

    /// Queues work, and says where; or what became of it at once. If the second part is true, a worker sleeps and only
    /// [`call`](Self::call) will wake it: soon, but others have lately come together, and had better be queued first.
    pub(super) fn push(
        &self,
        task: usize,
        work: Work<AnyInput>,
        suspect: bool,
        reply: Reply,
    ) -> Result<(Ticket, bool), Outcome> {
        let most = self.bounds.queue_tokens;
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
            return Err(state.overloaded(&self.bounds));
        }
        let job = Job { input: work.input, reply };
        let queued = state.queue.push(task, work.cost, suspect, Instant::now(), job);
        let ticket = queued.ok_or_else(|| Outcome::retry("there is no such task"))?;
        state.cost += (work.cost as f64 - state.cost) / 64.0;
        self.metrics.queue_tokens(state.queue.tokens());
        let call = state.summon();
        let later = call && state.company > COMPANY;
        drop(state);
        if call && !later {
            self.call();
        }
        Ok((ticket, later))
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
        while let Some(call) = self.next() {
            // Tasks are caught closer by. This is for inputs that panic when dropped: a dead worker would answer nobody.
            let goes_on = catch_unwind(AssertUnwindSafe(|| self.run(call))).unwrap_or_else(|_| {
                tracing::error!("an input panicked when it was dropped");
                true
            });
            if !goes_on {
                break;
            }
        }
    }

    /// Waits for work; `None` when closed and empty.
    fn next(&self) -> Option<Call> {
        let mut state = self.lock();
        loop {
            if let Some((task, job)) = state.apart.pop() {
                return Some(self.begin(state, Batch { task, tokens: 0, jobs: vec![job] }));
            }
            let left = match state.queue.oldest() {
                None if state.closed => return None,
                None => Duration::MAX,
                Some(_) if state.closed || state.queue.tokens() >= self.bounds.batch_tokens => Duration::ZERO,
                Some(_) if self.bounds.wait.is_zero() => Duration::ZERO,
                Some(oldest) => self.bounds.wait.saturating_sub(oldest.elapsed()),
            };
            if left.is_zero()
                && let Some(batch) = state.queue.cut()
            {
                self.metrics.queue_tokens(state.queue.tokens());
                return Some(self.begin(state, batch));
            }
            state.idle += 1;
            state = if left == Duration::MAX {
                self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.arrival.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
            state.idle -= 1;
            state.called = state.called.saturating_sub(1);
        }
    }

    /// Wakes the worker that was [summoned](State::summon).
    pub(super) fn call(&self) {
        self.arrival.notify_one();
    }

    fn begin(&self, mut state: MutexGuard<'_, State>, batch: Batch<Job>) -> Call {
        let id = state.next_run;
        state.next_run += 1;
        state.company += (batch.jobs.len() as f64 - state.company) / 8.0;
        let (inputs, replies) = batch.jobs.into_iter().map(|job| (job.input, job.reply)).unzip();
        state.running.push(Run { id, until: Instant::now() + self.bounds.run_time, replies });
        // An arrival may have woken this worker while another slept on.
        let more = !(state.queue.is_empty() && state.apart.is_empty()) && state.summon();
        let unwatched = std::mem::take(&mut state.unwatched);
        drop(state);
        if more {
            self.call();
        }
        if unwatched {
            self.begun.notify_one();
        }
        Call { id, task: batch.task, tokens: batch.tokens, inputs }
    }

    /// Runs a batch and answers every message of it once; whether this thread is still wanted.
    fn run(&self, call: Call) -> bool {
        let task = &*self.tasks[call.task];
        let inputs: Vec<&AnyInput> = call.inputs.iter().collect();
        let start = Instant::now();
        let outcomes = catch_unwind(AssertUnwindSafe(|| task.run(&inputs)));
        let elapsed = start.elapsed().as_secs_f64();

        let mut state = self.lock();
        let Some(at) = state.running.iter().position(|run| run.id == call.id) else {
            // Given up long ago, and it was no more than slow.
            state.hung -= 1;
            let wanted = state.workers < self.bounds.workers.max(1);
            state.workers += usize::from(wanted);
            return wanted;
        };
        let replies = state.running.swap_remove(at).replies;
        if call.tokens > 0 {
            let rate = call.tokens as f64 / elapsed.max(1e-6);
            state.rate = if state.rate == 0.0 { rate } else { 0.8 * state.rate + 0.2 * rate };
        }
        let outcomes = match outcomes {
            Ok(outcomes) if outcomes.len() == replies.len() => outcomes,
            failed => {
                // Alone each of them shows whether it was its fault.
                let apart = replies.len() > 1;
                let replies = if apart {
                    let jobs = call.inputs.into_iter().zip(replies).map(|(input, reply)| Job { input, reply });
                    state.apart.extend(jobs.rev().map(|job| (call.task, job)));
                    Vec::new()
                } else {
                    replies
                };
                drop(state);
                let what = match failed {
                    Ok(_) => "the task returned another number of outcomes than it had inputs",
                    Err(_) => "the task panicked",
                };
                tracing::error!(task = task.name(), apart, "{what}");
                replies.into_iter().for_each(|reply| drop(reply.send(Outcome::retry("the task failed"))));
                return true;
            }
        };
        drop(state);
        self.metrics.batch(outcomes.len(), call.tokens, elapsed);
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
            state = match state.running.iter().map(|run| run.until).min() {
                None => {
                    state.unwatched = true;
                    self.begun.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
                Some(until) if until > now => {
                    self.begun.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0
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
        let late: Vec<Run> = state.running.extract_if(.., |run| run.until <= now).collect();
        let replaced = late.len().min(HUNG.saturating_sub(state.hung + late.len()));
        state.hung += late.len();
        state.workers -= late.len() - replaced;
        drop(state);
        for _ in 0..replaced {
            if let Err(error) = self.add_worker() {
                tracing::error!(%error, "no thread for the place of one that hangs");
            }
        }
        let limit = self.bounds.run_time;
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
            left.extend(state.apart.drain(..).map(|(_, job)| job));
            while let Some(batch) = state.queue.cut() {
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
    fn summon(&mut self) -> bool {
        let asleep = self.idle > self.called;
        self.called += usize::from(asleep);
        asleep
    }

    /// A refusal that says how long what waits will take at the measured rate: from 1 s, the least that `Retry-After` can
    /// say, to 30 s.
    fn overloaded(&self, bounds: &Bounds) -> Outcome {
        let rate = self.rate * bounds.workers.max(1) as f64;
        let seconds = if rate > 0.0 { self.queue.tokens() as f64 / rate } else { 1.0 };
        Outcome::Overloaded { after: Duration::from_secs_f64(seconds.clamp(1.0, 30.0)) }
    }
}
