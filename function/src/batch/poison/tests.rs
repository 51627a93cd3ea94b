//! The quarantine by itself, and in a simulation of processes that a poison message ends.

use std::cell::Cell;
use std::rc::Rc;

use tokio::task::LocalSet;
use tokio::time::{advance, sleep};

use super::*;

fn message(id: &str, delivery_attempt: Option<u32>) -> Message {
    Message { id: id.into(), delivery_attempt, ..Message::default() }
}

async fn wait_of(quarantine: &Quarantine, message: &Message) -> Duration {
    let start = Instant::now();
    drop(quarantine.hold(message).await);
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_long_once_waits_briefly_the_next_time() {
    for id in ["1", "2", "17"] {
        let slots = [3, 4].map(|attempt| SLOT_SPREAD.mul_f64(slot(id, attempt)));
        let sum = slots[0] + slots[1];
        assert!(sum.abs_diff(SLOT_SPREAD) < Duration::from_micros(1) && slots[0] != slots[1], "{slots:?}");
        for (slot, attempt) in slots.into_iter().zip([3, 4]) {
            let waited = wait_of(&Quarantine::new(), &message(id, Some(attempt))).await;
            // The clock of the runtime counts milliseconds.
            assert!(waited.abs_diff(slot) <= Duration::from_millis(2), "{waited:?}, {slot:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_other_message_waits() {
    for (attempt, age) in [(None, 0), (Some(1), 0), (Some(2), 0), (Some(3), 5)] {
        let quarantine = Quarantine::new();
        advance(Duration::from_secs(age)).await;
        assert_eq!(wait_of(&quarantine, &message("1", attempt)).await, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_arrival_does_not_run_later_than_its_slot() {
    let quarantine = Quarantine::new();
    let _first = quarantine.hold(&message("1", Some(3))).await;
    advance(SLOT_SPREAD).await;
    assert_eq!(wait_of(&quarantine, &message("2", Some(3))).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn few_run_at_a_time_while_the_process_is_young() {
    let quarantine = Quarantine::new();
    let start = Instant::now();
    let mut released = Vec::new();
    for n in 0..=MAX_RUNNING {
        released.push(quarantine.hold(&message(&n.to_string(), Some(3))).await);
    }
    assert!(released[..MAX_RUNNING].iter().all(|released| released._running.is_some()));
    // The others waited until it was old enough.
    assert!(released[MAX_RUNNING]._running.is_none());
    assert_eq!(start.elapsed(), YOUNG_PROCESS_AGE);
}

/// Messages that crashes interrupt, and what handling them takes.
#[derive(Clone, Copy)]
struct Scene {
    innocent: usize,
    /// From the end of the wait to the answer.
    handling: Duration,
    /// The time over which messages come back after a crash.
    arrivals: Duration,
    seed: u64,
}

/// Runs processes that a poison message ends, from its third attempt to its fifth. Returns how many innocent messages
/// have then lost three attempts: with five allowed, and two lost before, they are dead letters.
///
/// Every message arrives in every process at another time, is held, and takes its time to be handled. If the poison
/// message is handled, everything that has arrived and is not done loses an attempt, and the rest comes to the next
/// process.
async fn dead_letters(scene: Scene) -> usize {
    let random = |text: String| slot(&text, 2);
    let poison = scene.innocent;
    let mut attempts = vec![3; scene.innocent + 1];
    let done: Rc<Vec<Cell<bool>>> = Rc::new(vec![Cell::new(false); scene.innocent + 1]);
    for round in 0.. {
        if attempts[poison] > 5 {
            break;
        }
        let quarantine = Rc::new(Quarantine::new());
        let arrived: Rc<Vec<Cell<bool>>> = Rc::new(vec![Cell::new(false); scene.innocent + 1]);
        let crash = Rc::new(tokio::sync::Notify::new());
        let local = LocalSet::new();
        for n in (0..=poison).filter(|n| attempts[*n] <= 5 && !done[*n].get()) {
            let (quarantine, done, arrived, crash) =
                (Rc::clone(&quarantine), Rc::clone(&done), Rc::clone(&arrived), Rc::clone(&crash));
            let arrival = scene.arrivals.mul_f64(random(format!("arrival {} {round} {n}", scene.seed)));
            let message = message(&format!("{} {n}", scene.seed), Some(attempts[n]));
            local.spawn_local(async move {
                sleep(arrival).await;
                arrived[n].set(true);
                let _released = quarantine.hold(&message).await;
                if n == poison {
                    crash.notify_one();
                }
                sleep(scene.handling).await;
                done[n].set(n != poison);
            });
        }
        local.run_until(crash.notified()).await;
        for n in 0..=poison {
            attempts[n] += u32::from(arrived[n].get() && !done[n].get());
        }
    }
    attempts[..poison].iter().zip(done.iter()).filter(|(attempts, done)| **attempts > 5 && !done.get()).count()
}

#[tokio::test(start_paused = true)]
async fn a_poison_message_takes_few_others_along_however_slow_the_code_is() {
    let milliseconds = Duration::from_millis;
    for handling in [2, 20, 100].map(milliseconds) {
        let mut all = Vec::new();
        for seed in 0..20 {
            all.push(dead_letters(Scene { innocent: 200, handling, arrivals: milliseconds(200), seed }).await);
        }
        all.sort_unstable();
        println!("handling takes {handling:?}: innocent dead letters of 200 messages in 20 runs, sorted: {all:?}");
        assert!(all[10] <= 2 * MAX_RUNNING && all[19] <= 15, "{handling:?}: {all:?}");
    }
}
