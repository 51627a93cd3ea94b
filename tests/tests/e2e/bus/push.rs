//! Pushes: their forms, their tokens, and what answers mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use pubsub::{EventKind, NackReason};
use serde_json::{Value, json};
use tests::{Bus, Endpoint, PubSub, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn push_to(pubsub: &PubSub, endpoint: &Endpoint, mut fields: Value) -> (String, String) {
    let id = unique("push");
    let topic = pubsub.create_topic(&id).await;
    fields["pushConfig"]["pushEndpoint"] = json!(endpoint.url());
    let subscription = pubsub.create_subscription(&id, &topic, fields).await;
    (topic, subscription)
}

#[tokio::test]
async fn a_wrapped_message_is_spelt_as_pubsub_spells_it() {
    let bus = Bus::shared();
    let dead = bus.create_topic(&unique("dead")).await;
    let mut endpoint = Endpoint::start(|_| 204).await;
    let policy = json!({"deadLetterPolicy": {"deadLetterTopic": dead}, "enableMessageOrdering": true});
    let (topic, subscription) = push_to(bus, &endpoint, policy).await;
    let message = json!({"data": "aGVsbG8=", "attributes": {"a": "b"}, "orderingKey": "k"});
    let id = bus.publish_messages(&topic, &[message]).await.remove(0);
    let push = endpoint.next().await;
    assert_eq!((push.header("content-type"), push.header("authorization")), ("application/json", ""));
    let body = push.json();
    let time = body["message"]["publishTime"].as_str().unwrap();
    let expected = json!({
        "message": {
            "attributes": {"a": "b"}, "data": "aGVsbG8=", "messageId": id, "message_id": id,
            "orderingKey": "k", "publishTime": time, "publish_time": time,
        },
        "subscription": subscription, "deliveryAttempt": 1,
    });
    assert_eq!(body, expected);
    assert!(time.ends_with('Z') && time.len() <= "2026-11-24T16:41:12.764Z".len(), "{time}");

    // Without data, attributes, key or dead letters, their fields are missing.
    let (topic, _) = push_to(bus, &endpoint, json!({})).await;
    bus.publish(&topic, b"", &[("a", "b")]).await;
    let body = endpoint.next().await.json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&body), ["message", "subscription"]);
    assert_eq!(keys(&body["message"]), ["attributes", "messageId", "message_id", "publishTime", "publish_time"]);
}

#[tokio::test]
async fn an_unwrapped_message_is_its_data_and_its_attributes_are_headers() {
    let bus = Bus::shared();
    let mut endpoint = Endpoint::start(|_| 204).await;
    let unwrapped = json!({"pushConfig": {"noWrapper": {"writeMetadata": true}}, "enableMessageOrdering": true});
    let (topic, subscription) = push_to(bus, &endpoint, unwrapped).await;
    let attributes = json!({"Content-Type": "text/plain", "ce-id": "17", "Host": "evil", "no header": "x"});
    let message = json!({"data": "aGVsbG8=", "attributes": attributes, "orderingKey": "k"});
    let id = bus.publish_messages(&topic, &[message]).await.remove(0);
    let push = endpoint.next().await;
    assert_eq!(push.body, "hello");
    for (name, value) in [
        ("content-type", "text/plain"),
        ("ce-id", "17"),
        ("x-goog-pubsub-message-id", &id),
        ("x-goog-pubsub-subscription-name", &subscription),
        ("x-goog-pubsub-ordering-key", "k"),
    ] {
        assert_eq!(push.header(name), value);
    }
    assert!(push.header("x-goog-pubsub-publish-time").ends_with('Z'));
    assert!(endpoint.url().contains(push.header("host")));

    let (topic, _) = push_to(bus, &endpoint, json!({"pushConfig": {"noWrapper": {}}})).await;
    bus.publish(&topic, b"bare", &[("a", "b")]).await;
    let push = endpoint.next().await;
    assert_eq!((push.body.as_ref(), push.header("a"), push.header("x-goog-pubsub-message-id")), (&b"bare"[..], "", ""));
}

#[tokio::test]
async fn an_eventarc_trigger_sends_a_cloud_event_with_a_token() {
    let bus = Bus::shared();
    let mut endpoint = Endpoint::start(|_| 204).await;
    let token = json!({"pushConfig": {"oidcToken": {"serviceAccountEmail": "sa@p.iam.gserviceaccount.com"}}});
    let (topic, subscription) = push_to(bus, &endpoint, token).await;
    bus.handle().set_eventarc(&subscription, true).unwrap();
    let id = bus.publish(&topic, b"hello", &[]).await;
    let push = endpoint.next().await;
    let body = push.json();
    let time = body["message"]["publishTime"].as_str().unwrap();
    for (name, value) in [
        ("ce-id", &*id),
        ("ce-source", &format!("//pubsub.googleapis.com/{topic}")),
        ("ce-specversion", "1.0"),
        ("ce-type", "google.cloud.pubsub.topic.v1.messagePublished"),
        ("ce-time", time),
        ("content-type", "application/json"),
    ] {
        assert_eq!(push.header(name), value);
    }
    let message = json!({"attributes": {}, "data": "aGVsbG8=", "messageId": id, "publishTime": time});
    assert_eq!(body, json!({"message": message, "subscription": subscription}));

    let token: Vec<&str> = push.header("authorization").strip_prefix("Bearer ").unwrap().split('.').collect();
    let part =
        |n: usize| -> Value { serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token[n]).unwrap()).unwrap() };
    let keys = reqwest::get(format!("http://{}/oauth2/v3/certs", bus.host())).await.unwrap();
    assert_eq!(part(0)["kid"], keys.json::<Value>().await.unwrap()["keys"][0]["kid"]);
    assert_eq!(part(1)["email"], "sa@p.iam.gserviceaccount.com");
    assert_eq!((&part(1)["aud"], &part(1)["email_verified"]), (&json!(endpoint.url()), &json!(true)));
}

#[tokio::test]
async fn five_statuses_are_acks_and_all_others_bring_the_message_again() {
    let bus = Bus::start();
    let mut events = bus.handle().events();
    for status in [200, 201, 202, 204, 203, 301, 400, 404, 429, 500] {
        let mut left = 1;
        let mut endpoint = Endpoint::start(move |_| {
            left -= 1;
            if left >= 0 { status } else { 204 }
        })
        .await;
        let (topic, subscription) = push_to(&bus, &endpoint, json!({})).await;
        bus.publish(&topic, b"x", &[]).await;
        endpoint.next().await;
        let acks = matches!(status, 200 | 201 | 202 | 204);
        if !acks {
            endpoint.next().await;
        }
        let mut ends = Vec::new();
        while !matches!(ends.last(), Some(EventKind::Acked { .. })) {
            let kind = events.recv().await.unwrap().kind;
            if matches!(kind, EventKind::Acked { .. } | EventKind::Nacked { .. }) {
                ends.push(kind);
            }
        }
        let subscription: Arc<str> = subscription.into();
        let nacked = EventKind::Nacked { subscription: subscription.clone(), reason: NackReason::Status(status) };
        let acked = EventKind::Acked { subscription };
        assert_eq!(ends, if acks { vec![acked] } else { vec![nacked, acked] }, "{status}");
    }
}

/// HTTP has another answer follow 102; Pub/Sub does not wait for it.
#[tokio::test]
async fn processing_is_an_ack() {
    let bus = Bus::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let topic = bus.create_topic("topic").await;
    let subscription = bus.create_push("processing", &topic, &url).await;
    bus.publish(&topic, b"x", &[]).await;
    let mut events = bus.handle().events();
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.unwrap();
    while !matches!(events.recv().await.unwrap().kind, EventKind::Acked { .. }) {}
    assert_eq!(bus.handle().backlog(&subscription), Some(0));
}

#[tokio::test]
async fn poison_becomes_a_dead_letter_and_delays_no_other_message() {
    let bus = Bus::shared();
    let (dead, dead_subscription) = bus.create_topic_and_subscription(&unique("dead")).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    let endpoint = Endpoint::start(move |push| {
        let body = push.json();
        if body["message"]["attributes"]["poison"] == "1" {
            let attempt = count.fetch_add(1, Ordering::Relaxed) + 1;
            assert_eq!(body["deliveryAttempt"], attempt);
            return 500;
        }
        200
    })
    .await;
    let policy = json!({
        "deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 5},
        "retryPolicy": {"minimumBackoff": "0.01s", "maximumBackoff": "0.05s"},
    });
    let (topic, subscription) = push_to(bus, &endpoint, policy).await;
    bus.publish(&topic, b"poison", &[("poison", "1")]).await;
    for _ in 0..20 {
        bus.publish(&topic, b"fine", &[]).await;
    }
    assert_eq!(bus.pull_one(&dead_subscription).await.attribute("CloudPubSubDeadLetterSourceDeliveryCount"), "5");
    assert_eq!(attempts.load(Ordering::Relaxed), 5);
    while bus.handle().backlog(&subscription) != Some(0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_yet_gets_everything_later() {
    let bus = Bus::shared();
    let mut endpoint = Endpoint::start(|_| 204).await;
    let unreachable = format!("http://127.0.0.1:{}/", tests::free_port());
    let id = unique("later");
    let topic = bus.create_topic(&id).await;
    let subscription = bus.create_push(&id, &topic, &unreachable).await;
    let mut events = bus.handle().events();
    for _ in 0..10 {
        bus.publish(&topic, b"x", &[]).await;
    }
    loop {
        match events.recv().await.unwrap().kind {
            EventKind::Nacked { subscription: name, reason: NackReason::NoResponse(why) } if *name == *subscription => {
                assert!(why.to_lowercase().contains("refused"), "{why}");
                break;
            }
            _ => {}
        }
    }
    let config = json!({"pushConfig": {"pushEndpoint": endpoint.url()}});
    assert_eq!(bus.call("POST", &format!("{subscription}:modifyPushConfig"), &config).await, (200, json!({})));
    bus.handle().retry_now(&subscription).unwrap();
    for _ in 0..10 {
        endpoint.next().await;
    }
    // Without an endpoint it is a pull subscription.
    bus.call("POST", &format!("{subscription}:modifyPushConfig"), &json!({})).await;
    bus.publish(&topic, b"pulled", &[]).await;
    assert_eq!(bus.pull_one(&subscription).await.data, "pulled");
    assert!(endpoint.try_next().is_none());
}
