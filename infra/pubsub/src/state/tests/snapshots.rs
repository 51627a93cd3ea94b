//! The effects of time on snapshots.

use super::*;

const SNAPSHOT: &str = "projects/test-project/snapshots/snapshot";
const DAY: u64 = 24 * 60 * 60;

fn create(state: &mut State, now: Time) -> Result<pb::Snapshot, Status> {
    let create = pb::CreateSnapshotRequest {
        name: SNAPSHOT.into(),
        subscription: SUBSCRIPTION.into(),
        ..pb::CreateSnapshotRequest::default()
    };
    state.create_snapshot(now, create)
}

fn seek_to_snapshot(state: &mut State) -> Result<(), Status> {
    let target = Some(pb::seek_request::Target::Snapshot(SNAPSHOT.into()));
    state.seek(&pb::SeekRequest { subscription: SUBSCRIPTION.into(), target })
}

fn expires(snapshot: &pb::Snapshot) -> Time {
    Time::from_proto(snapshot.expire_time.as_ref().unwrap())
}

#[test]
fn a_snapshot_lasts_for_seven_days_after_its_oldest_message() {
    let (mut state, ..) = state(pb::Subscription::default());
    let created = create(&mut state, at(0)).unwrap();
    assert_eq!(expires(&created), at(7 * DAY));
    state.delete_snapshot(SNAPSHOT).unwrap();
    publish(&mut state, at(0), "oldest");
    publish(&mut state, at(100), "newer");
    let created = create(&mut state, at(1000)).unwrap();
    assert_eq!(expires(&created), at(7 * DAY));
    assert!(state.tick(at(7 * DAY - 1)) <= at(7 * DAY));
    assert!(state.get_snapshot(SNAPSHOT).is_ok());
    state.tick(at(7 * DAY));
    assert_eq!(seek_to_snapshot(&mut state).unwrap_err().code(), tonic::Code::NotFound);
    // It has let go of its messages.
    state.delete_subscription(SUBSCRIPTION).unwrap();
    assert_eq!((state.usage.bytes(), state.usage.deliveries()), (0, 0));
}

#[test]
fn a_backlog_that_is_too_old_makes_no_snapshot() {
    let (mut state, ..) = state(pb::Subscription {
        message_retention_duration: seconds(31 * i64::try_from(DAY).unwrap()),
        ..pb::Subscription::default()
    });
    publish(&mut state, at(0), "old");
    let hour = 60 * 60;
    for late in [7 * DAY - hour + 1, 7 * DAY, 30 * DAY] {
        let status = create(&mut state, at(late)).unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status:?}");
    }
    let created = create(&mut state, at(7 * DAY - hour)).unwrap();
    assert_eq!(expires(&created), at(7 * DAY));
}

#[test]
fn a_seek_acknowledges_what_the_snapshot_has_as_acknowledged() {
    let (mut state, ..) = state(pb::Subscription { retain_acked_messages: true, ..pb::Subscription::default() });
    publish(&mut state, at(0), "acknowledged before");
    let id = pull(&mut state, at(0), SUBSCRIPTION).remove(0).ack_id;
    state.acknowledge(at(0), SUBSCRIPTION, vec![id]).unwrap();
    publish(&mut state, at(0), "open");
    create(&mut state, at(0)).unwrap();
    publish(&mut state, at(1), "later");
    // Everything is open again, also what was acknowledged before the snapshot.
    seek(&mut state, at(0));
    assert_eq!(state.backlog(SUBSCRIPTION), Some(3));
    seek_to_snapshot(&mut state).unwrap();
    let received = pull(&mut state, at(1), SUBSCRIPTION);
    let data = received.iter().map(|received| received.message.as_ref().unwrap().data.clone());
    assert_eq!(data.collect::<Vec<_>>(), ["open", "later"]);
}

#[test]
fn a_snapshot_keeps_messages_that_nothing_else_keeps() {
    let (mut state, ..) = state(pb::Subscription::default());
    publish(&mut state, at(0), "open");
    create(&mut state, at(0)).unwrap();
    state.delete_subscription(SUBSCRIPTION).unwrap();
    publish(&mut state, at(1), "later");
    let again = pb::Subscription { name: SUBSCRIPTION.into(), topic: TOPIC.into(), ..pb::Subscription::default() };
    state.create_subscription(again).unwrap();
    seek_to_snapshot(&mut state).unwrap();
    assert_eq!(state.backlog(SUBSCRIPTION), Some(2));
    // A new topic of the old name is another topic.
    state.delete_topic(TOPIC).unwrap();
    state.create_topic(pb::Topic { name: TOPIC.into(), ..pb::Topic::default() }).unwrap();
    state.delete_subscription(SUBSCRIPTION).unwrap();
    let again = pb::Subscription { name: SUBSCRIPTION.into(), topic: TOPIC.into(), ..pb::Subscription::default() };
    state.create_subscription(again).unwrap();
    assert_eq!(seek_to_snapshot(&mut state).unwrap_err().code(), tonic::Code::FailedPrecondition);
    assert_eq!(state.backlog(SUBSCRIPTION), Some(0));
}
