//! Snapshots: what a subscription had not acknowledged at one moment, and a seek back to it.

use std::collections::BTreeMap;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::publisher_client::PublisherClient;
use pb::subscriber_client::SubscriberClient;
use serde_json::{Value, json};
use tests::{Bus, PubSub, unique};
use tonic::Code;

use super::channel;

fn snapshot_name(bus: &PubSub, id: &str) -> String {
    format!("projects/{}/snapshots/{id}", bus.project())
}

/// Pulls and acknowledges everything that is ready; returns its data, sorted.
async fn drain(bus: &PubSub, subscription: &str, count: usize) -> Vec<String> {
    let received = bus.pull(subscription, count, Duration::from_secs(10)).await;
    let mut data: Vec<String> = received.iter().map(|one| String::from_utf8(one.data.to_vec()).unwrap()).collect();
    data.sort();
    data
}

#[tokio::test]
async fn a_seek_brings_back_what_was_not_acknowledged_and_what_came_later() {
    let bus = Bus::shared();
    let id = unique("snapshot");
    let topic = bus.create_topic(&id).await;
    let subscription = bus.create_subscription(&id, &topic, json!({})).await;
    let other = bus.create_subscription(&unique("snapshot"), &topic, json!({})).await;
    let filtered = bus.create_subscription(&unique("snapshot"), &topic, json!({"filter": "attributes:kind"})).await;
    for data in ["acknowledged", "open 1", "open 2"] {
        bus.publish(&topic, data.as_bytes(), &[]).await;
        if data == "acknowledged" {
            bus.pull_one(&subscription).await;
        }
    }
    let name = snapshot_name(bus, &id);
    let created = bus.call("PUT", &name, &json!({"subscription": subscription, "labels": {"a": "b"}})).await;
    assert_eq!((created.0, &created.1["name"], &created.1["topic"]), (200, &json!(name), &json!(topic)), "{created:?}");
    bus.publish(&topic, b"later", &[("kind", "x")]).await;
    assert_eq!(drain(bus, &subscription, 3).await, ["later", "open 1", "open 2"]);
    assert_eq!(drain(bus, &other, 4).await.len(), 4);
    assert_eq!(drain(bus, &filtered, 1).await, ["later"]);

    let seek = json!({"snapshot": name});
    for _ in 0..2 {
        assert_eq!(bus.call("POST", &format!("{subscription}:seek"), &seek).await, (200, json!({})));
        assert_eq!(bus.handle().backlog(&subscription), Some(3));
        assert_eq!(drain(bus, &subscription, 3).await, ["later", "open 1", "open 2"]);
    }
    // Another subscription of the topic takes the same state, through its own filter.
    for (subscription, expected) in [(&other, 3), (&filtered, 1)] {
        assert_eq!(bus.call("POST", &format!("{subscription}:seek"), &seek).await.0, 200);
        assert_eq!(bus.handle().backlog(subscription), Some(expected));
    }
    // What the snapshot has as acknowledged is acknowledged.
    let third = bus.create_subscription(&unique("snapshot"), &topic, json!({})).await;
    let name = snapshot_name(bus, &unique("snapshot"));
    assert_eq!(bus.call("PUT", &name, &json!({"subscription": third})).await.0, 200);
    assert_eq!(bus.call("POST", &format!("{other}:seek"), &json!({"snapshot": name})).await.0, 200);
    assert_eq!(bus.handle().backlog(&other), Some(0));
}

#[tokio::test]
async fn snapshots_are_created_read_listed_changed_and_deleted() {
    let bus = Bus::start();
    let (topic, subscription) = bus.create_topic_and_subscription("source").await;
    let (_, elsewhere) = bus.create_topic_and_subscription("elsewhere").await;
    let names = ["alpha", "beta"].map(|id| snapshot_name(&bus, id));
    for name in &names {
        let (status, created) = bus.call("PUT", name, &json!({"subscription": subscription})).await;
        assert_eq!(status, 200, "{created}");
        assert_eq!(bus.call("GET", name, &Value::Null).await, (200, created));
    }
    let list = format!("projects/{}/snapshots", bus.project());
    let (_, first) = bus.call("GET", &format!("{list}?pageSize=1"), &Value::Null).await;
    let token = first["nextPageToken"].as_str().unwrap();
    let (_, second) = bus.call("GET", &format!("{list}?pageSize=1&pageToken={token}"), &Value::Null).await;
    assert_eq!([&first, &second].map(|page| page["snapshots"][0]["name"].as_str().unwrap()), [&names[0], &names[1]]);
    let listed = bus.call("GET", &format!("{topic}/snapshots"), &Value::Null).await;
    assert_eq!(listed, (200, json!({"snapshots": names})));

    let update = json!({"snapshot": {"labels": {"a": "1", "b": "2"}}, "updateMask": "labels"});
    assert_eq!(bus.call("PATCH", &names[0], &update).await.1["labels"], json!({"a": "1", "b": "2"}));
    let update = json!({"snapshot": {"labels": {"a": "3"}}, "updateMask": "labels.a"});
    assert_eq!(bus.call("PATCH", &names[0], &update).await.1["labels"], json!({"a": "3", "b": "2"}));

    let with = |name: &str| json!({ "snapshot": name });
    let missing = snapshot_name(&bus, "missing");
    let absent = bus.subscription_name("nobody");
    let seek = format!("{subscription}:seek");
    for (method, path, body, status, words) in [
        ("PUT", &names[0], json!({"subscription": subscription}), 409, "resource=alpha"),
        ("PUT", &missing, json!({"subscription": absent}), 404, "resource=nobody"),
        ("PUT", &missing, json!({"subscription": "source"}), 400, "name=source"),
        ("PUT", &missing, json!({"subscription": subscription, "labels": {"A": "x"}}), 400, "A=x"),
        ("PUT", &snapshot_name(&bus, "goog-x"), json!({"subscription": subscription}), 400, "Invalid resource name"),
        ("GET", &missing, Value::Null, 404, "resource=missing"),
        ("DELETE", &missing, Value::Null, 404, "resource=missing"),
        ("PATCH", &names[0], json!({"snapshot": {}, "updateMask": "expireTime"}), 400, "not mutable"),
        ("PATCH", &names[0], json!({"snapshot": {}, "updateMask": "colour"}), 400, "'colour' is not a known Snapshot"),
        ("PATCH", &names[0], json!({"snapshot": {}}), 400, "non-empty paths list"),
        ("POST", &seek, with(&missing), 404, "resource=missing"),
        ("POST", &seek, with("alpha"), 400, "name=alpha"),
        ("POST", &seek, json!({}), 400, "needs a target"),
        ("POST", &seek, json!({"snapshot": names[0], "time": "2026-01-01T00:00:00Z"}), 400, "one target"),
        ("POST", &format!("{elsewhere}:seek"), with(&names[0]), 400, "different from that of the snapshot"),
    ] {
        let (code, refused) = bus.call(method, path, &body).await;
        assert_eq!(code, status, "{method} {path} {body}: {refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(words), "{method} {path}: {refused}");
    }
    let (_, refused) = bus.call("POST", &format!("{elsewhere}:seek"), &with(&names[0])).await;
    assert_eq!(refused["error"]["status"], "FAILED_PRECONDITION");

    assert_eq!(bus.call("DELETE", &names[0], &Value::Null).await, (200, json!({})));
    assert_eq!(bus.call("POST", &seek, &with(&names[0])).await.0, 404);
    // A snapshot outlives its topic, and is none of a new one of that name.
    assert_eq!(bus.call("DELETE", &topic, &Value::Null).await.0, 200);
    assert_eq!(bus.call("GET", &names[1], &Value::Null).await.1["topic"], "_deleted-topic_");
    bus.create_topic("source").await;
    assert_eq!(bus.call("GET", &format!("{topic}/snapshots"), &Value::Null).await, (200, json!({})));
}

#[tokio::test]
async fn snapshots_work_over_grpc() {
    let bus = Bus::shared();
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("snapshot")).await;
    bus.publish(&topic, b"open", &[]).await;
    let mut client = SubscriberClient::new(channel(bus).await);
    // A snapshot without a name is given one.
    let create = pb::CreateSnapshotRequest { subscription: subscription.clone(), ..Default::default() };
    let created = client.create_snapshot(create).await.unwrap().into_inner();
    assert!(created.name.starts_with(&format!("projects/{}/snapshots/", bus.project())), "{created:?}");
    let (snapshot, name) = (created.name.clone(), || created.name.clone());
    let get = pb::GetSnapshotRequest { snapshot };
    assert_eq!(client.get_snapshot(get.clone()).await.unwrap().into_inner(), created);
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let update = pb::UpdateSnapshotRequest {
        snapshot: Some(pb::Snapshot { name: name(), labels: labels.clone(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["labels".into()] }),
    };
    assert_eq!(client.update_snapshot(update).await.unwrap().into_inner().labels, labels);
    let project = format!("projects/{}", bus.project());
    let listed = client.list_snapshots(pb::ListSnapshotsRequest { project, ..Default::default() }).await.unwrap();
    assert!(listed.into_inner().snapshots.iter().any(|snapshot| snapshot.name == created.name));
    let mut publisher = PublisherClient::new(channel(bus).await);
    let list = pb::ListTopicSnapshotsRequest { topic, ..Default::default() };
    assert_eq!(publisher.list_topic_snapshots(list).await.unwrap().into_inner().snapshots, [name()]);

    assert_eq!(&*bus.pull_one(&subscription).await.data, b"open");
    let target = Some(pb::seek_request::Target::Snapshot(name()));
    client.seek(pb::SeekRequest { subscription: subscription.clone(), target }).await.unwrap();
    assert_eq!(&*bus.pull_one(&subscription).await.data, b"open");
    client.delete_snapshot(pb::DeleteSnapshotRequest { snapshot: name() }).await.unwrap();
    assert_eq!(client.get_snapshot(get).await.unwrap_err().code(), Code::NotFound);
}
