//! The pool under random interleavings of its threads, those that send work and those that hang. `shuttle` runs one thread at a
//! time and chooses which at every lock, so that a lost wake-up is a deadlock that it finds and can repeat.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use shuttle::thread;
use tokio::sync::oneshot;

use super::{Limits, queue};
use crate::task::{AnyTask, Work};
use crate::{Message, Outcome, Task};

/// The same source with locks and threads that the simulation schedules.
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "pool.rs"]
mod pool;

mod sync {
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};

    pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        shuttle::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }
}

/// Gives numbers back after others had their turn; a batch with 5 in it is answered short.
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

/// `hangs`: how often everything that runs is given up.
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
                        return pool.remove(&ticket); // gone before the answer
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
    let watch = Arc::clone(&pool);
    let watch = thread::spawn(move || {
        for _ in 0..hangs {
            watch.give_up(Instant::now() + 2 * run_time);
            thread::yield_now();
        }
    });
    clients.into_iter().for_each(|client| client.join().unwrap());
    watch.join().unwrap();
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
fn nobody_is_left_waiting_when_threads_hang() {
    shuttle::check_random(|| simulate(1, 4), 500);
    shuttle::check_random(|| simulate(2, 4), 500);
}
