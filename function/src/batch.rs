//! A bounded queue in front of the tasks, and the threads that empty it.
//!
//! Messages of concurrent requests meet here and run together. Nothing polls and nothing waits for company by default: an idle
//! worker takes what is there at once, and what arrives while it works is the next batch. Batches therefore grow with load, and
//! a lone message waits for nobody. Only where batches have lately had several messages, a sleeping worker is woken after the
//! requests that have arrived already are queued too.
//!
//! - `queue`: what waits, and what runs next: short and long messages share the time
//! - `pool`: the threads that run batches, and the watch over those that hang
//! - `poison`: messages that may have ended a process
//!
//! A batch that panics, or is answered for the wrong number of messages, is run again one by one, so that only the message that
//! caused it fails.

mod poison;
mod pool;
mod queue;
#[cfg(test)]
mod simulation;
/// What a simulation puts its own in place of.
mod sync {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

    pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }
}
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::task::{AnyInput, AnyTask, Work};
use crate::telemetry::Metrics;
use crate::{Message, Outcome};
use pool::Pool;
use queue::Ticket;

/// How much may wait and run at once. Tokens are the cost that tasks give their messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most tokens of a batch; a message larger than that runs alone.
    pub(crate) batch_tokens: usize,
    /// Most tokens waiting; a message that would exceed it is `Overloaded` at once.
    pub(crate) queue_tokens: usize,
    /// How long the first message of a batch may wait for others; zero unless a task gains more from company than from speed.
    pub(crate) wait: Duration,
    /// Threads that run batches: one for tasks that compute, more for tasks that wait.
    pub(crate) workers: usize,
    /// How long a task may run on one batch before its messages are given up.
    pub(crate) run_time: Duration,
}

/// The queue and its workers. Dropping it ends the workers once they are done with what they run. It does not wait for them:
/// whoever waits for work borrows the batcher, so nobody wants what still runs then.
pub(crate) struct Batcher {
    pool: Arc<Pool>,
    started: Instant,
}

impl Batcher {
    pub(crate) fn start(
        tasks: Arc<[Box<dyn AnyTask>]>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        Ok(Self { pool: Pool::start(tasks, limits, metrics)?, started: Instant::now() })
    }

    /// `Overloaded` if the queue has no room for a message of common size: no reason to find out what this one costs.
    pub(crate) fn refusal(&self) -> Option<Outcome> {
        self.pool.refusal()
    }

    /// Whether this process can still run tasks; not after several of them hang.
    pub(crate) fn is_live(&self) -> bool {
        self.pool.is_live()
    }

    /// Keeps messages apart that may have ended a process, where this one may follow upon it.
    pub(crate) async fn hold_back(&self, message: &Message) {
        let delay = poison::delay(message, self.started.elapsed());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    /// Queues accepted work and waits for its outcome; `attempt` is the message's delivery attempt, where that is known.
    /// Dropping the future takes the work out of the queue.
    pub(crate) async fn submit(&self, task: usize, work: Work<AnyInput>, attempt: Option<u32>) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let (ticket, wake) = match self.pool.push(task, work, attempt.is_some_and(poison::is_possible), reply) {
            Ok(queued) => queued,
            Err(outcome) => return outcome,
        };
        let mut waiting = Waiting { pool: &self.pool, ticket: Some(ticket), wake };
        if wake {
            // Requests that have arrived already come first: waking a thread costs more than queueing them.
            tokio::task::yield_now().await;
            waiting.wake_worker();
        }
        let outcome = outcome.await;
        waiting.ticket = None;
        outcome.unwrap_or_else(|_| Outcome::retry("the worker ended before the work was done"))
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// Takes a job whose sender has gone out of the queue, and leaves no worker asleep.
struct Waiting<'a> {
    pool: &'a Pool,
    ticket: Option<Ticket>,
    wake: bool,
}

impl Waiting<'_> {
    fn wake_worker(&mut self) {
        if std::mem::take(&mut self.wake) {
            self.pool.wake_worker();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.wake_worker();
        if let Some(ticket) = &self.ticket {
            self.pool.remove(ticket);
        }
    }
}
