//! The effects of time on topics and subscriptions. Tests over the network would have to wait for them.

mod snapshots;

use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;

use super::*;
use crate::queue::PullRequest;

const TOPIC: &str = "projects/test-project/topics/topic";
const DEAD: &str = "projects/test-project/topics/dead";
const SUBSCRIPTION: &str = "projects/test-project/subscriptions/subscription";
const LETTERS: &str = "projects/test-project/subscriptions/letters";

fn at(seconds: u64) -> Time {
    Time::from_micros(1_700_000_000_000_000).after(Duration::from_secs(seconds))
}

/// A state with a topic and a subscription to it, and a dead-letter topic with one.
fn state(fields: pb::Subscription) -> (State, broadcast::Receiver<Event>, Arc<Notify>) {
    let (events, receiver) = broadcast::channel(1000);
    let alarm = Arc::new(Notify::new());
    let mut state = State::new(Limits::default(), events, Arc::clone(&alarm));
    for name in [TOPIC, DEAD] {
        state.create_topic(pb::Topic { name: name.into(), ..pb::Topic::default() }).unwrap();
    }
    let subscription = pb::Subscription { name: SUBSCRIPTION.into(), topic: TOPIC.into(), ..fields };
    state.create_subscription(subscription).unwrap();
    let letters = pb::Subscription { name: LETTERS.into(), topic: DEAD.into(), ..pb::Subscription::default() };
    state.create_subscription(letters).unwrap();
    (state, receiver, alarm)
}

fn publish(state: &mut State, now: Time, data: &'static str) {
    let message = pb::PubsubMessage { data: data.into(), ..pb::PubsubMessage::default() };
    state.publish(now, pb::PublishRequest { topic: TOPIC.into(), messages: vec![message] }).unwrap();
}

fn pull(state: &mut State, now: Time, name: &str) -> Vec<pb::ReceivedMessage> {
    let pull = PullRequest { max_messages: 10, max_bytes: usize::MAX, subscriber: 1, lease: None, many_per_key: true };
    state.pull(now, name, pull).unwrap().received()
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Sets the retention of the topic.
fn keep(state: &mut State, time: i64) {
    let topic = pb::Topic { name: TOPIC.into(), message_retention_duration: seconds(time), ..pb::Topic::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["message_retention_duration".into()] });
    state.update_topic(pb::UpdateTopicRequest { topic: Some(topic), update_mask }).unwrap();
}

fn seek(state: &mut State, time: Time) {
    let target = Some(pb::seek_request::Target::Time(time.to_proto()));
    state.seek(&pb::SeekRequest { subscription: SUBSCRIPTION.into(), target }).unwrap();
}

#[test]
fn deadlines_that_pass_make_a_dead_letter_without_anyone_pulling() {
    let policy = pb::DeadLetterPolicy { dead_letter_topic: DEAD.into(), max_delivery_attempts: 5 };
    let (mut state, mut events, _) =
        state(pb::Subscription { dead_letter_policy: Some(policy), ..pb::Subscription::default() });
    publish(&mut state, at(0), "poison");
    let mut now = at(0);
    for attempt in 1..=5 {
        assert_eq!(pull(&mut state, now, SUBSCRIPTION)[0].delivery_attempt, attempt);
        assert!(pull(&mut state, now, LETTERS).is_empty());
        let due = state.tick(now);
        assert_eq!(due.since(now), Duration::from_secs(10));
        now = due;
        state.tick(now);
    }
    assert!(pull(&mut state, now, SUBSCRIPTION).is_empty());
    let letter = pull(&mut state, now, LETTERS).remove(0).message.unwrap();
    assert_eq!(letter.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"], "2023-11-14T22:13:20Z");
    let mut last = None;
    while let Ok(event) = events.try_recv() {
        if matches!(event.kind, EventKind::Expired { .. } | EventKind::DeadLettered { .. }) {
            last = Some(event.kind);
        }
    }
    assert_eq!(
        last,
        Some(EventKind::DeadLettered { subscription: SUBSCRIPTION.into(), topic: DEAD.into(), attempts: 5 })
    );
}

#[test]
fn without_its_dead_letter_topic_a_message_comes_on_and_on() {
    let policy = pb::DeadLetterPolicy { dead_letter_topic: DEAD.into(), max_delivery_attempts: 5 };
    let (mut state, ..) = state(pb::Subscription { dead_letter_policy: Some(policy), ..pb::Subscription::default() });
    state.delete_topic(DEAD).unwrap();
    publish(&mut state, at(0), "poison");
    for attempt in 1..=20 {
        let received = pull(&mut state, at(0), SUBSCRIPTION).remove(0);
        assert_eq!(received.delivery_attempt, attempt);
        state.modify_ack_deadline(at(0), SUBSCRIPTION, vec![received.ack_id], Duration::ZERO).unwrap();
    }
}

#[test]
fn the_alarm_is_set_earlier_when_something_is_due_earlier() {
    let (mut state, _, alarm) = state(pb::Subscription::default());
    let rings = || futures_util::FutureExt::now_or_never(alarm.notified()).is_some();
    assert_eq!(state.tick(at(0)), Time::NEVER);
    publish(&mut state, at(0), "one");
    assert!(rings(), "its retention ends some day");
    state.tick(at(0));
    let id = pull(&mut state, at(0), SUBSCRIPTION).remove(0).ack_id;
    assert!(rings(), "its deadline passes");
    assert_eq!(state.tick(at(0)), at(10));
    state.modify_ack_deadline(at(0), SUBSCRIPTION, vec![id.clone()], Duration::from_secs(60)).unwrap();
    assert!(!rings(), "later is early enough");
    state.modify_ack_deadline(at(0), SUBSCRIPTION, vec![id], Duration::from_secs(5)).unwrap();
    assert!(rings());
    assert_eq!(state.tick(at(0)), at(5));
}

#[test]
fn a_topic_keeps_messages_for_as_long_as_it_says() {
    let (mut state, ..) = state(pb::Subscription { message_retention_duration: seconds(600), ..Default::default() });
    keep(&mut state, 1200);
    publish(&mut state, at(0), "first");
    publish(&mut state, at(300), "second");
    assert_eq!(state.tick(at(300)), at(600));
    assert_eq!(state.tick(at(600)), at(900));
    assert_eq!(state.backlog(SUBSCRIPTION), Some(1));
    assert_eq!(state.tick(at(900)), at(1200));
    assert_eq!(state.backlog(SUBSCRIPTION), Some(0));
    seek(&mut state, at(100));
    assert_eq!(state.backlog(SUBSCRIPTION), Some(1));
    state.tick(at(1500));
    assert_eq!((state.backlog(SUBSCRIPTION), state.usage.bytes(), state.usage.deliveries()), (Some(0), 0, 0));
}

#[test]
fn an_id_of_a_deleted_subscription_of_the_same_name_does_nothing() {
    let (mut state, ..) = state(pb::Subscription::default());
    keep(&mut state, 1200);
    publish(&mut state, at(0), "data");
    let old = pull(&mut state, at(0), SUBSCRIPTION).remove(0).ack_id;
    state.delete_subscription(SUBSCRIPTION).unwrap();
    let again = pb::Subscription { name: SUBSCRIPTION.into(), topic: TOPIC.into(), ..pb::Subscription::default() };
    state.create_subscription(again).unwrap();
    seek(&mut state, at(0));
    pull(&mut state, at(0), SUBSCRIPTION);
    state.acknowledge(at(0), SUBSCRIPTION, vec![old]).unwrap();
    assert_eq!(state.backlog(SUBSCRIPTION), Some(1));
}

#[test]
fn a_seek_brings_only_what_passes_the_filter() {
    let (mut state, ..) = state(pb::Subscription { filter: "attributes:x".into(), ..pb::Subscription::default() });
    keep(&mut state, 1200);
    publish(&mut state, at(0), "data");
    seek(&mut state, at(0));
    assert_eq!(state.backlog(SUBSCRIPTION), Some(0));
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let names = || (0..5).map(|n| (format!("projects/p/topics/{n}"), n));
    let (first, token) = page(names(), 2, "").unwrap();
    assert_eq!((first, token.as_str()), (vec![0, 1], "projects/p/topics/1"));
    assert_eq!(page(names(), 3, &token).unwrap(), (vec![2, 3, 4], String::new()));
    assert!(page(names(), -1, "").is_err() && page(names(), 1, "x").is_err());
}

#[test]
fn what_one_bus_delivered_cannot_be_acknowledged_to_the_next() {
    let (mut first, ..) = state(pb::Subscription::default());
    let (mut second, ..) = state(pb::Subscription::default());
    publish(&mut first, at(0), "first");
    publish(&mut second, at(1), "second");
    let old = pull(&mut first, at(1), SUBSCRIPTION).remove(0);
    let new = pull(&mut second, at(1), SUBSCRIPTION).remove(0);
    second.acknowledge(at(1), SUBSCRIPTION, vec![old.ack_id]).unwrap();
    assert_eq!(second.backlog(SUBSCRIPTION), Some(1));
    second.acknowledge(at(1), SUBSCRIPTION, vec![new.ack_id]).unwrap();
    assert_eq!(second.backlog(SUBSCRIPTION), Some(0));
    assert_ne!(old.message.map(|message| message.message_id), new.message.map(|message| message.message_id));
}
