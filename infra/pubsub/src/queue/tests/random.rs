//! Random steps, checked against a model after each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Backoff, Delivery, DeliveryState, Entry, NackOutcome, PullRequest, Queue, QueueConfig};
use super::{SECOND, at, config, message, pull, queue};
use crate::time::Time;

/// A step of a random run.
#[derive(Clone, Debug)]
enum Step {
    Push { key: u8 },
    Take { most: usize, many_per_key: bool },
    Ack { which: usize },
    Nack { which: usize },
    Extend { which: usize, seconds: u64 },
    Pass { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8).prop_map(|key| Step::Push { key }),
        3 => (1..5_usize, any::<bool>()).prop_map(|(most, many_per_key)| Step::Take { most, many_per_key }),
        4 => any::<usize>().prop_map(|which| Step::Ack { which }),
        2 => any::<usize>().prop_map(|which| Step::Nack { which }),
        1 => (any::<usize>(), 1..20_u64).prop_map(|(which, seconds)| Step::Extend { which, seconds }),
        1 => (0..15_u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

fn any_config() -> impl Strategy<Value = QueueConfig> {
    (any::<bool>(), any::<bool>(), prop::option::of(1..8_u64), prop::option::of(5..7_u32)).prop_map(
        |(ordered, exactly_once, backoff, max_attempts)| QueueConfig {
            ordered,
            exactly_once,
            backoff: backoff.map(|least| Backoff { minimum: Duration::from_secs(least), maximum: 10 * SECOND }),
            max_attempts,
            retention: 1_000_000 * SECOND,
            ..config()
        },
    )
}

/// What has to be true of the queue, kept beside it.
#[derive(Default)]
struct Model {
    pushed: u64,
    key: BTreeMap<u64, u8>,
    /// Deliveries that were neither acknowledged nor nacked, with their deadlines.
    open: Vec<(Delivery, Time)>,
    /// Messages that have left the queue.
    gone: BTreeSet<u64>,
}

impl Model {
    /// Checks a delivery: no other delivery of the message may be open, and no older message of its key may still wait.
    fn delivered(&mut self, queue: &Queue, delivery: Delivery, until: Time) {
        let number = delivery.message.number;
        assert!(!self.gone.contains(&number), "{number} was done");
        assert!(self.open.iter().all(|(open, _)| open.message.number != number), "{number} is out twice");
        if queue.config.ordered && self.key[&number] != 0 {
            let older = queue.entries.range(..number).filter(|(_, older)| older.state != DeliveryState::Acked);
            let of_key = |older: &Entry| older.message.ordering_key == delivery.message.ordering_key;
            for (older, _) in older.filter(|(_, older)| of_key(older)) {
                assert!(self.open.iter().any(|(open, _)| open.message.number == *older), "{number} overtook {older}");
            }
        }
        self.open.push((delivery, until));
    }

    fn failed(&mut self, outcomes: impl IntoIterator<Item = NackOutcome>) {
        for outcome in outcomes {
            if let NackOutcome::DeadLetter(failed) = outcome {
                assert!(failed.failures >= 5);
                self.gone.insert(failed.message.number);
            }
        }
    }

    /// Forgets deliveries that the queue ended by itself.
    fn sync(&mut self, queue: &Queue) {
        self.open.retain(|(open, _)| {
            let entry = queue.entries.get(&open.message.number);
            entry.is_some_and(|entry| entry.token == open.token && matches!(entry.state, DeliveryState::Leased { .. }))
        });
    }
}

/// Checks that every index says the same as the entries, and that no message is lost or stuck.
fn check(queue: &Queue, model: &Model) {
    let in_state = |wanted: fn(&DeliveryState) -> bool| -> BTreeSet<u64> {
        queue.entries.iter().filter(|(_, entry)| wanted(&entry.state)).map(|(&number, _)| number).collect()
    };
    assert_eq!(queue.ready, in_state(|state| *state == DeliveryState::Ready));
    assert_eq!(
        queue.delayed.iter().map(|&(_, number)| number).collect::<BTreeSet<_>>(),
        in_state(|state| *state == DeliveryState::Delayed)
    );
    let leased = in_state(|state| matches!(state, DeliveryState::Leased { .. }));
    assert_eq!(queue.leases.iter().map(|&(_, number)| number).collect::<BTreeSet<_>>(), leased);
    assert_eq!(queue.outstanding(1).messages, leased.len());
    assert_eq!(model.open.iter().map(|(open, _)| open.message.number).collect::<BTreeSet<_>>(), leased);
    assert_eq!(queue.usage.deliveries(), queue.entries.len());
    // Nothing is lost.
    let there: BTreeSet<u64> = queue.entries.keys().copied().chain(model.gone.iter().copied()).collect();
    assert_eq!(there, (1..=model.pushed).collect());
    // Every key makes progress: one of its messages is leased, ready or delayed.
    for (key, order) in &queue.keys {
        let moves = |entry: &Entry| !matches!(entry.state, DeliveryState::Waiting | DeliveryState::Acked);
        let of_key = || queue.entries.values().filter(|entry| entry.message.ordering_key == *key);
        assert!(!order.is_empty() && of_key().any(moves), "key {key} is stuck");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_doubled_or_out_of_order(config in any_config(), steps in vec(step(), 1..120)) {
        let mut queue = queue(config);
        let mut model = Model::default();
        let mut now = at(0);
        for step in steps {
            match step {
                Step::Push { key } => {
                    model.pushed += 1;
                    model.key.insert(model.pushed, key);
                    let key = if key == 0 { String::new() } else { key.to_string() };
                    queue.push(message(model.pushed, &key));
                }
                Step::Take { most, many_per_key } => {
                    for delivery in queue.take(now, PullRequest { many_per_key, ..pull(most) }) {
                        model.delivered(&queue, delivery, now.after(10 * SECOND));
                    }
                }
                Step::Ack { which } | Step::Nack { which } | Step::Extend { which, .. } if model.open.is_empty() => {
                    // An acknowledgement id of a message that does not exist.
                    let stale = queue.acknowledge(now, 1_000_000 + which as u64 % 10, 1);
                    prop_assert_eq!(stale.is_err(), queue.config.exactly_once);
                }
                Step::Ack { which } => {
                    let (delivery, until) = model.open.swap_remove(which % model.open.len());
                    let number = delivery.message.number;
                    let acked = queue.acknowledge(now, number, delivery.token);
                    prop_assert!(acked.is_ok() || (queue.config.exactly_once && until <= now));
                    for number in 1..=model.pushed {
                        if !queue.entries.contains_key(&number) {
                            model.gone.insert(number);
                        }
                    }
                }
                Step::Nack { which } => {
                    let (delivery, _) = model.open.swap_remove(which % model.open.len());
                    model.failed(queue.nack(now, delivery.message.number, delivery.token, true).ok().flatten());
                }
                Step::Extend { which, seconds } => {
                    let which = which % model.open.len();
                    let (delivery, until) = &mut model.open[which];
                    let lease = Duration::from_secs(seconds);
                    if queue.extend(now, delivery.message.number, delivery.token, lease).is_ok() && *until > now {
                        *until = now.after(lease);
                    }
                }
                Step::Pass { seconds } => {
                    now = now.after(Duration::from_secs(seconds));
                    model.failed(queue.tick(now, true).expired);
                    prop_assert!(queue.due() > now);
                }
            }
            model.sync(&queue);
            check(&queue, &model);
        }
        // In the end every message can be acknowledged.
        for _ in 0..200 {
            now = now.after(20 * SECOND);
            model.failed(queue.tick(now, true).expired);
            for delivery in queue.take(now, pull(1000)) {
                queue.acknowledge(now, delivery.message.number, delivery.token).unwrap();
            }
        }
        prop_assert_eq!(queue.len(), 0);
        prop_assert!(queue.keys.is_empty() && queue.outstanding.is_empty());
        prop_assert_eq!(queue.due(), Time::NEVER);
    }
}
