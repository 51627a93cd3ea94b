//! The pool under random interleavings of its workers, of the threads that send work, and of hanging tasks.
//!
//! `shuttle` runs one thread at a time and chooses which one at every lock. A lost wake-up therefore becomes a
//! deadlock, which `shuttle` finds and can repeat.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use shuttle::thread;
use tokio::sync::oneshot;

use super::limits::{self, Limits};
use super::queue;
use crate::task::{AnyTask, Work};
use crate::{Message, Outcome, Task};

// The same sources, with the locks and threads of the module `sync` below, which the simulation schedules.
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "overload.rs"]
mod overload;
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "pool.rs"]
mod pool;
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "watchdog.rs"]
mod watchdog;
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "worker.rs"]
mod worker;

mod sync {
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};

    pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        shuttle::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }
}

/// Returns its inputs after other threads had time to run; a batch that contains 5 has one outcome too few.
struct Numbers;

impl Task for Numbers {
    type Input = usize;
    fn name(&self) -> &str {
        "numbers"
    }
    fn accept(&self, _: &Message) -> Result<Work<usize>, Outcome> {
        unreachable!("the simulation submits inputs")
    }
    fn run(&self, batch: &[&usize]) -> Vec<Outcome> {
        thread::yield_now();
        let short = usize::from(batch.contains(&&5));
        batch.iter().skip(short).map(|n| done(**n)).collect()
    }
}

fn done(n: usize) -> Outcome {
    Outcome::Done(n.to_string().into())
}

/// Seven clients send work to a pool of this many workers; `hangs` is how often the watchdog gives up everything that
/// runs.
fn simulate(workers: usize, hangs: usize) {
    let run_time = Duration::from_secs(3600);
    let limits = Limits { batch_tokens: 3, queue_tokens: 7, wait: Duration::ZERO, workers, run_time };
    let tasks: Arc<[Box<dyn AnyTask>]> = Arc::new([Box::new(Numbers) as Box<dyn AnyTask>]);
    let pool = pool::Pool::start(tasks, limits, Arc::default()).unwrap();
    let clients = (0..7).map(|n| {
        let pool = Arc::clone(&pool);
        thread::spawn(move || {
            let (reply, outcome) = oneshot::channel();
            let work = Work { input: Box::new(n) as _, cost: 1 + n % 4 };
            match pool.push(0, work, n == 4, reply) {
                Ok((ticket, wake)) => {
                    thread::yield_now();
                    if wake {
                        pool.wake_worker();
                    }
                    if n == 6 {
                        return pool.remove(&ticket); // no longer waits for the outcome
                    }
                    let outcome = shuttle::future::block_on(outcome).unwrap();
                    assert!(
                        outcome == done(n) || ((hangs > 0 || n == 5) && matches!(outcome, Outcome::Retry { .. })),
                        "{n}: {outcome:?}"
                    );
                }
                Err(Outcome::Overloaded { .. }) => {}
                Err(outcome) => assert!(hangs > 0 && matches!(outcome, Outcome::Retry { .. }), "{outcome:?}"),
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let watchdog = Arc::clone(&pool);
    let watchdog = thread::spawn(move || {
        for _ in 0..hangs {
            watchdog.give_up_overdue(Instant::now() + 2 * run_time);
            thread::yield_now();
        }
    });
    clients.into_iter().for_each(|client| client.join().unwrap());
    watchdog.join().unwrap();
    assert_eq!(pool.tokens(), 0);
    // A thread that does not end is a deadlock.
    pool.close();
}

#[test]
fn every_message_is_answered_once_and_closing_ends_every_thread() {
    shuttle::check_random(|| simulate(1, 0), 500);
    shuttle::check_random(|| simulate(2, 0), 500);
}

#[test]
fn no_message_is_left_waiting_when_threads_hang() {
    shuttle::check_random(|| simulate(1, 4), 500);
    shuttle::check_random(|| simulate(2, 4), 500);
}
