use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::*;
use crate::{Message, Task};

const LIMITS: Limits = Limits {
    batch_tokens: 1,
    queue_tokens: 100,
    wait: Duration::ZERO,
    workers: 1,
    // Longer than any test runs.
    run_time: Duration::from_secs(3600),
};

/// Doubles numbers. Where there is a channel, waits for it before each batch. Panics at 13; at 17 it returns an
/// outcome too few.
#[derive(Default)]
struct Double {
    gate: Option<Mutex<mpsc::Receiver<()>>>,
    started: AtomicUsize,
    batches: Mutex<Vec<Vec<usize>>>,
}

struct Handle(Arc<Double>);

impl Task for Handle {
    type Input = usize;
    fn name(&self) -> &str {
        "double"
    }
    fn accept(&self, _: &Message) -> Result<Work<usize>, Outcome> {
        unreachable!("these tests submit inputs")
    }
    fn run(&self, batch: &[&usize]) -> Vec<Outcome> {
        self.0.started.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.0.gate {
            let _ = gate.lock().unwrap().recv();
        }
        self.0.batches.lock().unwrap().push(batch.iter().map(|n| **n).collect());
        assert!(!batch.contains(&&13), "unlucky");
        let mut outcomes: Vec<Outcome> = batch.iter().map(|n| done(**n)).collect();
        if batch.contains(&&17) {
            outcomes.pop();
        }
        outcomes
    }
}

fn done(n: usize) -> Outcome {
    Outcome::Done((2 * n).to_string().into())
}

fn work(n: usize, cost: usize) -> Work<AnyInput> {
    Work { input: Box::new(n), cost }
}

fn start(task: Double, batch_tokens: usize, queue_tokens: usize) -> (Arc<Batcher>, Arc<Double>) {
    let task = Arc::new(task);
    let limits = Limits { batch_tokens, queue_tokens, ..LIMITS };
    let tasks: Arc<[Box<dyn AnyTask>]> = Arc::new([Box::new(Handle(Arc::clone(&task))) as Box<dyn AnyTask>]);
    (Arc::new(Batcher::start(tasks, limits, Arc::default()).unwrap()), task)
}

fn gated() -> (Double, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel();
    (Double { gate: Some(Mutex::new(gate)), ..Double::default() }, open)
}

fn submit(batcher: &Arc<Batcher>, n: usize, cost: usize) -> tokio::task::JoinHandle<Outcome> {
    let batcher = Arc::clone(batcher);
    tokio::spawn(async move { batcher.submit(0, work(n, cost), None).await })
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_arrives_during_a_batch_is_the_next_one_in_order() {
    let (task, open) = gated();
    let (batcher, task) = start(task, 10, 1000);
    let first = submit(&batcher, 0, 1);
    until(|| task.started.load(Ordering::SeqCst) == 1).await; // alone, at once
    let mut rest = Vec::new();
    for n in 1..=7 {
        rest.push(submit(&batcher, n, 3));
        until(|| batcher.pool.tokens() == 3 * n).await;
    }
    drop(open); // the gate stays open
    assert_eq!(first.await.unwrap(), done(0));
    for (n, outcome) in rest.into_iter().enumerate() {
        assert_eq!(outcome.await.unwrap(), done(n + 1));
    }
    assert_eq!(*task.batches.lock().unwrap(), [vec![0], vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_gone_client_makes_room() {
    let (task, open) = gated();
    let (batcher, task) = start(task, 10, 10);
    let running = submit(&batcher, 0, 10);
    until(|| task.started.load(Ordering::SeqCst) == 1).await;
    let waiting = submit(&batcher, 1, 8);
    until(|| batcher.pool.tokens() == 8).await;
    assert!(matches!(batcher.submit(0, work(2, 3), None).await, Outcome::Overloaded { .. }));
    assert!(matches!(
        batcher.submit(0, work(2, 11), None).await,
        Outcome::Rejected { reason: "message-too-large", .. }
    ));
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(batcher.pool.tokens(), 0);
    let later = submit(&batcher, 3, 10);
    drop(open);
    assert_eq!((running.await.unwrap(), later.await.unwrap()), (done(0), done(3)));
    assert_eq!(*task.batches.lock().unwrap(), [vec![0], vec![3]]);
}

#[tokio::test]
async fn requests_already_received_join_the_batch_and_a_cancelled_one_leaves_no_worker_asleep() {
    let (task, open) = gated();
    let (batcher, task) = start(task, 100, 100);
    let jobs: Vec<_> = (20..40).map(|n| submit(&batcher, n, 1)).collect();
    until(|| task.started.load(Ordering::SeqCst) == 1).await;
    drop(open);
    for job in jobs {
        job.await.unwrap();
    }
    until(|| batcher.pool.idle() == 1).await;
    let batches = task.started.load(Ordering::SeqCst);
    let mut first = Box::pin(batcher.submit(0, work(1, 1), None));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut second = Box::pin(batcher.submit(0, work(2, 1), None));
    assert!(futures_util::poll!(&mut second).is_pending());
    tokio::time::sleep(Duration::from_millis(20)).await;
    // The first one is to wake the worker, after it has yielded.
    assert_eq!(task.started.load(Ordering::SeqCst), batches);
    drop(first);
    let second = tokio::time::timeout(Duration::from_secs(10), second).await;
    assert_eq!(second.unwrap(), done(2));
}

#[tokio::test]
async fn a_panic_costs_its_own_message_alone() {
    let (task, open) = gated();
    let (batcher, task) = start(task, 100, 100);
    let first = submit(&batcher, 0, 1);
    until(|| task.started.load(Ordering::SeqCst) == 1).await;
    let jobs: Vec<_> = [12, 13, 14].map(|n| submit(&batcher, n, 1)).into();
    until(|| batcher.pool.tokens() == 3).await;
    drop(open);
    assert_eq!(first.await.unwrap(), done(0));
    let mut outcomes = Vec::new();
    for job in jobs {
        outcomes.push(job.await.unwrap());
    }
    assert_eq!(outcomes, [done(12), Outcome::retry("the task failed"), done(14)]);
    // The worker lives on.
    assert_eq!(batcher.submit(0, work(5, 1), None).await, done(5));
    // Too few outcomes: no message gets the outcome of another one.
    assert_eq!(batcher.submit(0, work(17, 1), None).await, Outcome::retry("the task failed"));
}

#[tokio::test]
async fn a_batch_answered_for_the_wrong_number_is_run_again_one_by_one() {
    let (task, open) = gated();
    let (batcher, task) = start(task, 100, 100);
    let first = submit(&batcher, 0, 1);
    until(|| task.started.load(Ordering::SeqCst) == 1).await;
    let jobs = [16, 17, 18].map(|n| submit(&batcher, n, 1));
    until(|| batcher.pool.tokens() == 3).await;
    drop(open);
    assert_eq!(first.await.unwrap(), done(0));
    let [one, wrong, other] = jobs;
    assert_eq!(one.await.unwrap(), done(16));
    assert_eq!(wrong.await.unwrap(), Outcome::retry("the task failed"));
    assert_eq!(other.await.unwrap(), done(18));
    assert_eq!(*task.batches.lock().unwrap(), [vec![0], vec![16, 17, 18], vec![16], vec![17], vec![18]]);
}

#[tokio::test]
async fn a_message_that_was_delivered_often_runs_alone() {
    let (task, open) = gated();
    let (batcher, task) = start(task, 100, 100);
    let first = submit(&batcher, 0, 1);
    until(|| task.started.load(Ordering::SeqCst) == 1).await;
    let later = |n, attempt| {
        let batcher = Arc::clone(&batcher);
        tokio::spawn(async move { batcher.submit(0, work(n, 1), Some(attempt)).await })
    };
    let mut jobs = vec![first];
    for (n, attempt) in [(1, 1), (2, 3), (3, 2)] {
        jobs.push(later(n, attempt));
        until(|| batcher.pool.tokens() == n).await;
    }
    drop(open);
    for (n, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.await.unwrap(), done(n));
    }
    assert_eq!(*task.batches.lock().unwrap(), [vec![0], vec![1], vec![2], vec![3]]);
}

/// Hangs at 13 until the channel's other end is dropped.
struct Hang(Mutex<mpsc::Receiver<()>>);

impl Task for Hang {
    type Input = usize;
    fn name(&self) -> &str {
        "hang"
    }
    fn accept(&self, _: &Message) -> Result<Work<usize>, Outcome> {
        unreachable!("these tests submit inputs")
    }
    fn run(&self, batch: &[&usize]) -> Vec<Outcome> {
        if batch.contains(&&13) {
            let _ = self.0.lock().unwrap().recv();
        }
        batch.iter().map(|n| done(**n)).collect()
    }
}

#[tokio::test]
async fn a_task_that_hangs_is_given_up_and_others_go_on_until_several_hang() {
    let (end, gate) = mpsc::channel();
    let limits = Limits { batch_tokens: 10, run_time: Duration::from_millis(200), ..LIMITS };
    let task: Box<dyn AnyTask> = Box::new(Hang(Mutex::new(gate)));
    let metrics = Arc::<Metrics>::default();
    let batcher = Arc::new(Batcher::start(Arc::new([task]), limits, Arc::clone(&metrics)).unwrap());
    let given_up = Outcome::retry("the task did not end within 200ms");
    for n in 0..pool::MAX_HUNG_WORKERS {
        assert!(batcher.is_live(), "{n} hang");
        assert_eq!(batcher.submit(0, work(n, 1), None).await, done(n));
        assert_eq!(batcher.submit(0, work(13, 1), None).await, given_up);
    }
    // The last worker that hangs is not replaced, and messages do not wait for one that is.
    assert!(!batcher.is_live());
    assert!(matches!(batcher.submit(0, work(1, 1), None).await, Outcome::Retry { .. }));
    assert!(metrics.text().contains("hung_batches_total 3"));
    // They were only slow.
    drop(end);
    until(|| batcher.is_live()).await;
    assert_eq!(batcher.submit(0, work(1, 1), None).await, done(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_answered_once_under_load_and_closing_finishes_what_waits() {
    let (batcher, task) = start(Double::default(), 50, 400);
    let jobs: Vec<_> = (100..3000).map(|n| (n, submit(&batcher, n, 1 + n % 7))).collect();
    let (mut finished, mut refused, mut cancelled) = (Vec::new(), 0, 0);
    for (n, job) in jobs {
        if n % 11 == 0 {
            job.abort();
        }
        match job.await {
            Ok(outcome @ Outcome::Done(_)) => {
                assert_eq!(outcome, done(n));
                finished.push(n);
            }
            Ok(Outcome::Overloaded { after }) => {
                assert!(after >= Duration::from_secs(1));
                refused += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(error.is_cancelled());
                cancelled += 1;
            }
        }
    }
    assert_eq!(finished.len() + refused + cancelled, 2900);
    assert_eq!(batcher.pool.tokens(), 0);
    let mut ran: Vec<usize> = task.batches.lock().unwrap().concat();
    let total = ran.len();
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran.len(), total, "a message ran twice");
    assert!(finished.iter().all(|n| ran.binary_search(n).is_ok()));

    let last = submit(&batcher, 1, 1);
    assert_eq!(last.await.unwrap(), done(1));
    let pool = Arc::downgrade(&batcher.pool);
    until(|| Arc::strong_count(&batcher) == 1).await;
    drop(batcher);
    until(|| pool.strong_count() == 0).await; // its threads have ended
}

/// Two of its runs must meet before either ends.
struct Meet(std::sync::Barrier);

impl Task for Meet {
    type Input = ();
    fn name(&self) -> &str {
        "meet"
    }
    fn accept(&self, _: &Message) -> Result<Work<()>, Outcome> {
        unreachable!("these tests submit inputs")
    }
    fn run(&self, batch: &[&()]) -> Vec<Outcome> {
        self.0.wait();
        batch.iter().map(|()| done(1)).collect()
    }
}

#[tokio::test]
async fn several_workers_run_batches_at_the_same_time() {
    let limits = Limits { workers: 2, ..LIMITS };
    let task: Box<dyn AnyTask> = Box::new(Meet(std::sync::Barrier::new(2)));
    let batcher = Batcher::start(Arc::new([task]), limits, Arc::default()).unwrap();
    let submit = || batcher.submit(0, Work { input: Box::new(()), cost: 1 }, None);
    assert_eq!(tokio::join!(submit(), submit(), submit(), submit()), (done(1), done(1), done(1), done(1)));
}

#[tokio::test]
async fn with_a_wait_a_message_is_joined_by_others_until_the_batch_is_full() {
    let task = Arc::new(Double::default());
    // Longer than any test runs: only a full batch ends the wait.
    let limits = Limits { batch_tokens: 3, wait: Duration::from_secs(3600), workers: 2, ..LIMITS };
    let tasks: Arc<[Box<dyn AnyTask>]> = Arc::new([Box::new(Handle(Arc::clone(&task))) as Box<dyn AnyTask>]);
    let batcher = Batcher::start(tasks, limits, Arc::default()).unwrap();
    let submit = |n| batcher.submit(0, work(n, 1), None);
    assert_eq!(tokio::join!(submit(1), submit(2), submit(3)), (done(1), done(2), done(3)));
    assert_eq!(*task.batches.lock().unwrap(), [vec![1, 2, 3]]);
}

/// An input that panics when it is dropped, if it is told to.
struct Mine(bool);

impl Drop for Mine {
    fn drop(&mut self) {
        assert!(!self.0, "boom");
    }
}

struct Hold;

impl Task for Hold {
    type Input = Mine;
    fn name(&self) -> &str {
        "hold"
    }
    fn accept(&self, _: &Message) -> Result<Work<Mine>, Outcome> {
        unreachable!("these tests submit inputs")
    }
    fn run(&self, batch: &[&Mine]) -> Vec<Outcome> {
        batch.iter().map(|_| done(1)).collect()
    }
}

#[tokio::test]
async fn an_input_that_panics_when_dropped_does_not_end_the_worker() {
    let limits = LIMITS;
    let task: Box<dyn AnyTask> = Box::new(Hold);
    let batcher = Batcher::start(Arc::new([task]), limits, Arc::default()).unwrap();
    let submit = |panics| batcher.submit(0, Work { input: Box::new(Mine(panics)), cost: 1 }, None);
    assert_eq!(submit(true).await, done(1));
    assert_eq!(submit(false).await, done(1));
}

#[tokio::test]
async fn what_a_batch_leaves_in_the_queue_wakes_another_worker() {
    // Both workers sleep, one of them waiting for its batch to be filled, when work arrives that makes two batches.
    let limits = Limits { batch_tokens: 2, wait: Duration::from_secs(3600), workers: 2, ..LIMITS };
    let task: Box<dyn AnyTask> = Box::new(Meet(std::sync::Barrier::new(2)));
    let batcher = Batcher::start(Arc::new([task]), limits, Arc::default()).unwrap();
    let submit = |cost| batcher.submit(0, Work { input: Box::new(()), cost }, None);
    let later = async {
        // Gives the worker that the first one woke time to sleep again: only then one notification has to do for two
        // batches.
        tokio::time::sleep(Duration::from_millis(20)).await;
        submit(10).await
    };
    assert_eq!(tokio::join!(submit(1), later), (done(1), done(1)));
}
