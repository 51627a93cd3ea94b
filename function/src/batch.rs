//! Batches: a bounded queue in front of the compute tasks, and the threads that empty it.
//!
//! A task does more work a second on a full batch than on single messages. So the messages of concurrent requests are
//! queued together and run together, and no message waits only to make a batch larger.
//!
//! # When a batch runs
//!
//! | the workers | a message that arrives |
//! |---|---|
//! | one is idle | wakes it and runs at once, alone if nothing else is queued |
//! | all are busy | is queued; everything queued when a worker is free is its next batch, as far as it fits |
//! | one is idle, and batches lately had several messages | wakes it once requests already received are queued too |
//!
//! Nothing polls. Batches grow with load, and without load nothing is delayed. Only `MAX_BATCH_WAIT_MS`, which is 0
//! unless it is set, lets a message wait for others.
//!
//! # What a batch holds
//!
//! Messages of one task, up to `MAX_BATCH_TOKENS` of them in cost. Short and long messages share the time, so that
//! neither waits for all of the other (`queue`). A message that may have ended a process before runs alone, and in a
//! process that has just started not before it has to (`poison`).
//!
//! # What a sender is told
//!
//! | | outcome |
//! |---|---|
//! | the task ran | the task's outcome for this message |
//! | the queue has no room for it | `Overloaded`, with the time that the queue takes to run at the measured speed |
//! | it costs more than the whole queue holds | `Rejected` (`message-too-large`) |
//! | the task panicked, or the number of outcomes is wrong | its messages run again, one by one; failures are `Retry` |
//! | the task did not return in time | `Retry`; another thread replaces the one that hangs (`watchdog`) |
//! | several threads hang | `Retry`, and the process is no longer live |
//! | the sender goes away | its message leaves the queue; one that runs is run to its end |
//!
//! # Layout
//!
//! - `queue`: what waits, and which batch is next; `next_batch` decides the batch size
//! - `pool`: the state that the threads share, and what requests see of it
//! - `overload`: when the queue is full, and how long a refused message should wait
//! - `worker`: the threads that run batches
//! - `watchdog`: the thread that gives up batches which hang
//! - `limits`: how much may wait and run at once
//! - `poison`: messages that may end the process
//! - `simulation`: the threads under random interleavings (tests)

mod limits;
mod overload;
mod poison;
mod pool;
mod queue;
#[cfg(test)]
mod simulation;
/// Locks and threads. The simulation replaces this module with its own.
mod sync {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

    pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }
}
#[cfg(test)]
mod tests;
mod watchdog;
mod worker;

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use crate::task::{AnyInput, AnyTask, Work};
use crate::telemetry::Metrics;
use crate::{Message, Outcome};
pub(crate) use limits::Limits;
use poison::Quarantine;
pub(crate) use poison::Released;
use pool::Pool;
use queue::Ticket;

/// The queue and its workers.
///
/// Dropping it ends the threads once they have run what is queued, without waiting for them. Everyone who waits for
/// an outcome borrows the batcher, so at that time no outcome is wanted any more.
pub(crate) struct Batcher {
    pool: Arc<Pool>,
    quarantine: Quarantine,
}

impl Batcher {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(
        tasks: Arc<[Box<dyn AnyTask>]>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        Ok(Self { pool: Pool::start(tasks, limits, metrics)?, quarantine: Quarantine::new() })
    }

    /// `Overloaded` if the queue has no room for a message of average cost. Then there is no reason to find out what
    /// this one costs.
    pub(crate) fn refusal(&self) -> Option<Outcome> {
        self.pool.refusal()
    }

    /// Whether this process can still run tasks; not once several of them hang.
    pub(crate) fn is_live(&self) -> bool {
        self.pool.is_live()
    }

    /// Holds back a message that may end the process, if this process may have replaced one that a message has ended.
    /// The returned value has to be kept until the message has its outcome.
    pub(crate) async fn hold_back(&self, message: &Message) -> Released<'_> {
        self.quarantine.hold(message).await
    }

    /// Queues accepted work and waits for its outcome. `attempt` is the message's delivery attempt, where the
    /// subscription counts them. Dropping the future takes the work out of the queue.
    pub(crate) async fn submit(&self, task: usize, work: Work<AnyInput>, attempt: Option<u32>) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let (ticket, wake) = match self.pool.push(task, work, attempt.is_some_and(poison::is_possible), reply) {
            Ok(queued) => queued,
            Err(outcome) => return outcome,
        };
        let mut waiting = Waiting { pool: &self.pool, ticket: Some(ticket), wake };
        if wake {
            // Let the requests that were already received queue their work first: then one batch holds all of it, and
            // waking a thread costs more than queueing does.
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

/// A sender that waits for its outcome. Dropped early, it takes its job out of the queue, and still wakes the worker
/// that it had claimed: other jobs may rely on that.
struct Waiting<'a> {
    pool: &'a Pool,
    /// The job, until its outcome is there.
    ticket: Option<Ticket>,
    /// A worker is claimed and not woken yet.
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
