//! A bounded queue in front of the tasks, and the threads that empty it.
//!
//! Messages of concurrent requests meet here and run together. Nothing polls and nothing waits for company by default: an idle
//! worker takes what is there at once, and what arrives while it works is the next batch. Batches therefore grow with load, and
//! a lone message waits for nobody.
//!
//! Order is first come, first served. A batch is the longest run of waiting messages whose tokens fit
//! [`Bounds::batch_tokens`]; one message that is larger by itself runs alone, and lets one batch of the messages behind it go
//! first, so that short work is not held up by each large piece and large work is held up by one batch at most.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::Outcome;
use crate::task::{AnyInput, AnyTask, Work};
use crate::telemetry::Metrics;

/// How much may wait and run at once. Tokens are the cost that tasks give their messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most tokens of a batch; a message larger than that runs alone.
    pub(crate) batch_tokens: usize,
    /// Most tokens waiting; a message that would exceed it is `Overloaded` at once.
    pub(crate) queue_tokens: usize,
    /// How long the first message of a batch may wait for others; zero unless a task gains more from company than from speed.
    pub(crate) wait: Duration,
    /// Threads that run batches: one for tasks that compute, more for tasks that wait.
    pub(crate) workers: usize,
}

struct Job {
    id: u64,
    task: usize,
    input: AnyInput,
    cost: usize,
    arrived: Instant,
    reply: oneshot::Sender<Outcome>,
}

struct State {
    /// Ids ascend.
    queue: VecDeque<Job>,
    /// Of the jobs in `queue`.
    tokens: usize,
    next_id: u64,
    /// The large message at the head has let a batch go first.
    head_waited: bool,
    /// Tokens a second of one worker, a moving average; zero until a batch has run.
    rate: f64,
    closed: bool,
}

struct Shared {
    tasks: Arc<[Box<dyn AnyTask>]>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    arrival: Condvar,
}

/// The queue and its workers. Dropping it ends the workers once they are done with what they run. It does not wait for them:
/// whoever waits for work borrows the batcher, so nobody wants what still runs then.
pub(crate) struct Batcher {
    shared: Arc<Shared>,
}

impl Batcher {
    pub(crate) fn start(
        tasks: Arc<[Box<dyn AnyTask>]>,
        bounds: Bounds,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let state =
            State { queue: VecDeque::new(), tokens: 0, next_id: 0, head_waited: false, rate: 0.0, closed: false };
        let shared = Arc::new(Shared { tasks, bounds, metrics, state: Mutex::new(state), arrival: Condvar::new() });
        // Made before the threads, so that those that did start end if a later one does not.
        let batcher = Self { shared };
        for n in 0..bounds.workers.max(1) {
            let shared = Arc::clone(&batcher.shared);
            std::thread::Builder::new().name(format!("batch-{n}")).spawn(move || shared.work())?;
        }
        Ok(batcher)
    }

    /// Queues accepted work and waits for its outcome. Dropping the future takes the work out of the queue.
    pub(crate) async fn submit(&self, task: usize, work: Work<AnyInput>) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let id = {
            let bounds = &self.shared.bounds;
            let mut state = self.shared.lock();
            if state.closed {
                return Outcome::retry("this instance is shutting down");
            }
            if work.cost > bounds.queue_tokens {
                return Outcome::rejected(
                    "message-too-large",
                    format!(
                        "the message costs {} tokens, and at most {} fit in the queue; split it",
                        work.cost, bounds.queue_tokens
                    ),
                );
            }
            if state.tokens + work.cost > bounds.queue_tokens {
                return Outcome::Overloaded { after: state.time_to_empty(bounds.workers) };
            }
            let id = state.next_id;
            state.next_id += 1;
            state.tokens += work.cost;
            self.shared.metrics.queue_tokens(state.tokens);
            state.queue.push_back(Job { id, task, input: work.input, cost: work.cost, arrived: Instant::now(), reply });
            id
        };
        self.shared.arrival.notify_one();
        let mut waiting = Waiting { shared: &self.shared, id: Some(id) };
        let outcome = outcome.await;
        waiting.id = None;
        outcome.unwrap_or_else(|_| Outcome::retry("the worker ended before the work was done"))
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrival.notify_all();
    }
}

/// Takes a job whose sender has gone out of the queue.
struct Waiting<'a> {
    shared: &'a Shared,
    id: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut state = self.shared.lock();
        if let Ok(at) = state.queue.binary_search_by_key(&id, |job| job.id)
            && let Some(job) = state.queue.remove(at)
        {
            state.tokens -= job.cost;
            self.shared.metrics.queue_tokens(state.tokens);
        }
    }
}

impl State {
    /// How long what waits will take at the measured rate, from 1 s, the least that `Retry-After` can say, to 30 s.
    fn time_to_empty(&self, workers: usize) -> Duration {
        let rate = self.rate * workers.max(1) as f64;
        let seconds = if rate > 0.0 { self.tokens as f64 / rate } else { 1.0 };
        Duration::from_secs_f64(seconds.clamp(1.0, 30.0))
    }

    /// Takes the next batch out of the queue.
    fn cut(&mut self, bound: usize) -> Vec<Job> {
        let large = self.queue.front().is_some_and(|job| job.cost > bound);
        let skip = usize::from(large && !self.head_waited && self.queue.get(1).is_some_and(|job| job.cost <= bound));
        self.head_waited = skip == 1;
        let mut tokens = 0;
        let count = self.queue.iter().skip(skip).take_while(|job| {
            tokens += job.cost;
            tokens <= bound
        });
        let count = count.count().max(1);
        let batch: Vec<Job> = self.queue.drain(skip..(skip + count).min(self.queue.len())).collect();
        self.tokens -= batch.iter().map(|job| job.cost).sum::<usize>();
        batch
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements, and tasks run outside the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(batch) = self.next() {
            let (messages, tokens) = (batch.len(), batch.iter().map(|job| job.cost).sum::<usize>());
            let start = Instant::now();
            // Tasks are caught closer by. This is for inputs that panic when dropped: a dead worker would answer nobody.
            if catch_unwind(AssertUnwindSafe(|| self.run(batch))).is_err() {
                tracing::error!("an input panicked when it was dropped");
            }
            let elapsed = start.elapsed().as_secs_f64();
            self.metrics.batch(messages, tokens, elapsed);
            let mut state = self.lock();
            let rate = tokens as f64 / elapsed.max(1e-6);
            state.rate = if state.rate == 0.0 { rate } else { 0.8 * state.rate + 0.2 * rate };
        }
    }

    /// Waits for work; `None` when closed and empty.
    fn next(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            let Some(first) = state.queue.front() else {
                if state.closed {
                    return None;
                }
                state = self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = self.bounds.wait.saturating_sub(first.arrived.elapsed());
            if left.is_zero() || state.closed || state.tokens >= self.bounds.batch_tokens {
                let batch = state.cut(self.bounds.batch_tokens);
                self.metrics.queue_tokens(state.tokens);
                if !state.queue.is_empty() {
                    // Its arrival may have woken this worker while another slept on.
                    self.arrival.notify_one();
                }
                return Some(batch);
            }
            state = self.arrival.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs a batch, the messages of each task together, and answers every message once.
    fn run(&self, batch: Vec<Job>) {
        let mut groups: Vec<Vec<Job>> = self.tasks.iter().map(|_| Vec::new()).collect();
        for job in batch {
            if let Some(group) = groups.get_mut(job.task) {
                group.push(job);
            }
        }
        for (task, group) in self.tasks.iter().zip(groups) {
            if group.is_empty() {
                continue;
            }
            let inputs: Vec<&AnyInput> = group.iter().map(|job| &job.input).collect();
            let outcomes = run_apart(&**task, &inputs);
            for (job, outcome) in group.into_iter().zip(outcomes) {
                let _ = job.reply.send(outcome); // the sender may have gone
            }
        }
    }
}

/// Runs a task on its inputs; if it panics, on each input alone.
fn run_apart(task: &dyn AnyTask, inputs: &[&AnyInput]) -> Vec<Outcome> {
    match catch_unwind(AssertUnwindSafe(|| task.run(inputs))) {
        Ok(outcomes) if outcomes.len() == inputs.len() => outcomes,
        Ok(outcomes) => {
            tracing::error!(
                task = task.name(),
                inputs = inputs.len(),
                outcomes = outcomes.len(),
                "the task returned another number of outcomes than it had inputs"
            );
            inputs.iter().map(|_| Outcome::retry("the task failed")).collect()
        }
        Err(_) if inputs.len() > 1 => {
            inputs.iter().flat_map(|input| run_apart(task, std::slice::from_ref(input))).collect()
        }
        Err(_) => {
            tracing::error!(task = task.name(), "the task panicked");
            vec![Outcome::retry("the task failed")]
        }
    }
}

#[cfg(test)]
mod tests;
