//! One subscription's queue, step by step; `random`: in random steps.

mod random;

use std::collections::BTreeMap;
use std::time::Duration;

use super::delivery::StaleAckIdError;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> QueueConfig {
    QueueConfig {
        ack_deadline: 10 * SECOND,
        ordered: true,
        exactly_once: false,
        backoff: None,
        max_attempts: None,
        retention: 600 * SECOND,
        retain_acked: false,
    }
}

fn queue(config: QueueConfig) -> Queue {
    Queue::new(config, Arc::default())
}

fn at(seconds: u64) -> Time {
    Time::from_micros(1_000_000_000).after(Duration::from_secs(seconds))
}

fn message(number: u64, key: &str) -> Arc<Message> {
    let usage: Arc<Usage> = Arc::default();
    Arc::new(Message {
        number,
        data: "data".into(),
        attributes: BTreeMap::new(),
        ordering_key: key.into(),
        publish_time: at(0),
        _charge: usage.message(4),
    })
}

fn pull(max_messages: usize) -> PullRequest {
    PullRequest { max_messages, max_bytes: usize::MAX, subscriber: 1, lease: None, many_per_key: true }
}

fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.message.number).collect()
}

/// Takes everything that is ready; returns the numbers.
fn take(queue: &mut Queue, now: Time) -> Vec<u64> {
    numbers(&queue.take(now, pull(1000)))
}

#[test]
fn what_is_not_acknowledged_in_time_comes_again() {
    let mut queue = queue(config());
    queue.push(message(1, ""));
    queue.push(message(2, ""));
    let first = queue.take(at(0), pull(1));
    assert_eq!((numbers(&first), first[0].attempt), (vec![1], 1));
    assert_eq!(take(&mut queue, at(1)), [2]);
    assert_eq!(queue.due(), at(10));
    assert!(queue.tick(at(9), false).expired.is_empty());
    assert_eq!(queue.tick(at(10), false).expired.len(), 1);
    let again = queue.take(at(10), pull(1));
    assert_eq!((numbers(&again), again[0].attempt), (vec![1], 2));
    // Late, and good nevertheless: only exactly-once delivery is strict.
    assert!(queue.acknowledge(at(10), 1, first[0].token).unwrap().is_some());
    assert_eq!(queue.len(), 1);
}

#[test]
fn a_deadline_moves_from_now_on_and_zero_gives_back() {
    let mut queue = queue(config());
    queue.push(message(1, ""));
    let token = queue.take(at(0), pull(1))[0].token;
    queue.extend(at(5), 1, token, 30 * SECOND).unwrap();
    assert_eq!(queue.due(), at(35));
    assert!(matches!(queue.nack(at(6), 1, token, false), Ok(Some(NackOutcome::Redeliver(_)))));
    assert_eq!(take(&mut queue, at(6)), [1]);
    // Of a delivery that is over.
    assert!(matches!(queue.nack(at(6), 1, token, false), Ok(None)));
    assert!(take(&mut queue, at(6)).is_empty());
}

#[test]
fn backoff_doubles_up_to_its_bound() {
    let backoff = Some(Backoff { minimum: 2 * SECOND, maximum: 10 * SECOND });
    let mut queue = queue(QueueConfig { backoff, ..config() });
    queue.push(message(1, ""));
    let mut now = at(0);
    for wait in [2, 4, 8, 10, 10] {
        let token = queue.take(now, pull(1))[0].token;
        queue.nack(now, 1, token, false).unwrap();
        assert!(take(&mut queue, now).is_empty());
        assert_eq!(queue.due(), now.after(wait * SECOND));
        now = queue.due();
        assert!(queue.tick(now, false).ready);
    }
    let token = queue.take(now, pull(1))[0].token;
    queue.nack(now, 1, token, false).unwrap();
    queue.skip_backoff();
    assert_eq!(take(&mut queue, now), [1]);
}

#[test]
fn the_last_attempt_makes_a_dead_letter_if_its_topic_is_there() {
    let mut queue = queue(QueueConfig { max_attempts: Some(3), ..config() });
    queue.push(message(1, ""));
    let fail = |queue: &mut Queue, forward| {
        let token = queue.take(at(0), pull(1))[0].token;
        queue.nack(at(0), 1, token, forward).unwrap().unwrap()
    };
    assert!(matches!(fail(&mut queue, true), NackOutcome::Redeliver(_)));
    assert!(matches!(fail(&mut queue, true), NackOutcome::Redeliver(_)));
    assert!(matches!(fail(&mut queue, false), NackOutcome::Redeliver(_)));
    let token = queue.take(at(0), pull(1))[0].token;
    assert_eq!(queue.len(), 1);
    assert!(queue.acknowledge(at(0), 1, token).unwrap().is_some());

    queue.push(message(2, ""));
    for attempt in 1..=3 {
        let now = at(attempt * 20);
        assert_eq!(queue.take(now, pull(1))[0].attempt as u64, attempt);
        let expired = queue.tick(now.after(10 * SECOND), true).expired;
        assert_eq!(matches!(expired[..], [NackOutcome::DeadLetter(FailedMessage { failures: 3, .. })]), attempt == 3);
    }
    assert_eq!((queue.len(), queue.due()), (0, Time::NEVER));
}

#[test]
fn exactly_once_takes_only_the_id_of_the_current_delivery() {
    let mut queue = queue(QueueConfig { exactly_once: true, ..config() });
    queue.push(message(1, ""));
    let token = queue.take(at(0), pull(1))[0].token;
    assert_eq!(queue.acknowledge(at(10), 1, token).map(drop), Err(StaleAckIdError));
    assert_eq!(queue.extend(at(10), 1, token, SECOND), Err(StaleAckIdError));
    assert_eq!(queue.nack(at(10), 1, token, false).map(drop), Err(StaleAckIdError));
    queue.tick(at(10), false);
    let again = queue.take(at(10), pull(1))[0].token;
    assert_eq!(queue.acknowledge(at(11), 1, token).map(drop), Err(StaleAckIdError));
    assert!(queue.acknowledge(at(11), 1, again).unwrap().is_some());
    assert_eq!(queue.acknowledge(at(11), 1, again).map(drop), Err(StaleAckIdError));
}

#[test]
fn a_run_of_a_key_holds_the_rest_back() {
    let mut queue = queue(config());
    for number in 1..=4 {
        queue.push(message(number, "a"));
    }
    queue.push(message(5, "b"));
    let run = queue.take(at(0), pull(2));
    assert_eq!(numbers(&run), [1, 2]);
    // 3 and 4 wait for 1 and 2; another key does not.
    assert_eq!(take(&mut queue, at(0)), [5]);
    queue.acknowledge(at(0), 1, run[0].token).unwrap();
    assert!(take(&mut queue, at(0)).is_empty());
    queue.acknowledge(at(0), 2, run[1].token).unwrap();
    assert_eq!(take(&mut queue, at(0)), [3, 4]);
}

#[test]
fn a_push_sends_one_message_of_a_key_at_a_time() {
    let mut queue = queue(config());
    for (number, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "")] {
        queue.push(message(number, key));
    }
    let one = PullRequest { many_per_key: false, ..pull(10) };
    let sent = queue.take(at(0), one);
    assert_eq!(numbers(&sent), [1, 3, 4]);
    queue.acknowledge(at(0), 1, sent[0].token).unwrap();
    assert_eq!(numbers(&queue.take(at(0), one)), [2]);
}

#[test]
fn a_failure_brings_back_those_behind_it_acknowledged_or_not() {
    let mut queue = queue(QueueConfig { backoff: Some(Backoff { minimum: SECOND, maximum: SECOND }), ..config() });
    for number in 1..=4 {
        queue.push(message(number, "a"));
    }
    let run = queue.take(at(0), pull(3));
    queue.acknowledge(at(0), 3, run[2].token).unwrap();
    queue.nack(at(0), 2, run[1].token, false).unwrap();
    // Nothing of the key while 1 is out, and then not before the backoff is over.
    assert!(take(&mut queue, at(0)).is_empty());
    queue.acknowledge(at(0), 1, run[0].token).unwrap();
    assert!(take(&mut queue, at(0)).is_empty());
    queue.tick(at(1), false);
    let again = queue.take(at(1), pull(10));
    assert_eq!(numbers(&again), [2, 3, 4]);
    // Only the one that failed counts.
    assert_eq!(again.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn a_late_acknowledgement_takes_nothing_out_of_its_keys_order() {
    let mut queue = queue(config());
    queue.push(message(1, "a"));
    queue.push(message(2, "a"));
    let run = queue.take(at(0), pull(2));
    queue.tick(at(10), false);
    for delivery in &run {
        assert!(queue.acknowledge(at(10), delivery.message.number, delivery.token).unwrap().is_none());
    }
    assert_eq!(take(&mut queue, at(10)), [1, 2]);
}

#[test]
fn an_old_message_of_a_key_that_a_seek_brings_back_goes_first() {
    let mut queue = queue(QueueConfig { retain_acked: true, ..config() });
    queue.push(message(1, "a"));
    let token = queue.take(at(0), pull(1))[0].token;
    queue.acknowledge(at(0), 1, token).unwrap();
    queue.push(message(2, "a"));
    queue.seek(|message| message.publish_time >= at(0));
    assert_eq!(numbers(&queue.take(at(0), PullRequest { many_per_key: false, ..pull(10) })), [1]);
}

#[test]
fn retention_ends_what_nobody_takes() {
    let mut queue = queue(config());
    queue.push(message(1, "a"));
    queue.push(message(2, ""));
    take(&mut queue, at(599));
    let elapsed = queue.tick(at(600), false);
    assert_eq!((elapsed.discarded.len(), queue.len(), queue.due()), (2, 0, Time::NEVER));
    assert_eq!(queue.outstanding(1), Outstanding::default());
}

#[test]
fn a_seek_drops_and_brings_back() {
    let mut queue = queue(QueueConfig { retain_acked: true, ..config() });
    queue.push(message(1, ""));
    queue.push(message(2, "a"));
    for delivery in queue.take(at(1), pull(10)) {
        queue.acknowledge(at(1), delivery.message.number, delivery.token).unwrap();
    }
    assert_eq!(queue.len(), 0);
    queue.seek(|message| message.publish_time >= at(0));
    assert_eq!(take(&mut queue, at(2)), [1, 2]);
    queue.seek(|message| message.publish_time >= at(1));
    assert_eq!((queue.len(), queue.outstanding(1)), (0, Outstanding::default()));
}

#[test]
fn bytes_bound_what_is_taken_but_never_the_first() {
    let mut queue = queue(config());
    (1..=3).for_each(|number| queue.push(message(number, "")));
    assert_eq!(numbers(&queue.take(at(0), PullRequest { max_bytes: 1, ..pull(10) })), [1]);
    assert_eq!(numbers(&queue.take(at(0), PullRequest { max_bytes: 9, ..pull(10) })), [2, 3]);
    assert_eq!(queue.outstanding(1), Outstanding { messages: 3, bytes: 12 });
}
