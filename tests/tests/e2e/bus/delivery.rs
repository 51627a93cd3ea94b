//! From topic to subscriber, by pull.

use std::time::Duration;

use pubsub::{EventKind, Limits, NackReason};
use serde_json::{Value, json};
use tests::{Bus, PubSub, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_every_pubsub!(
    the_last_attempt_makes_a_dead_letter_that_says_where_it_comes_from,
    a_key_waits_for_its_first_message_and_others_do_not,
);

/// Pulls without acknowledging; waits for a first message.
async fn lease(pubsub: &PubSub, subscription: &str, most: usize) -> Vec<Value> {
    let (status, body) = pubsub.call("POST", &format!("{subscription}:pull"), &json!({"maxMessages": most})).await;
    assert_eq!(status, 200, "{body}");
    body["receivedMessages"].as_array().cloned().unwrap_or_default()
}

/// What can be pulled at this moment.
async fn peek(pubsub: &PubSub, subscription: &str) -> Vec<Value> {
    let body = json!({"maxMessages": 100, "returnImmediately": true});
    let (_, body) = pubsub.call("POST", &format!("{subscription}:pull"), &body).await;
    body["receivedMessages"].as_array().cloned().unwrap_or_default()
}

async fn acknowledge(pubsub: &PubSub, subscription: &str, message: &Value) -> (u16, Value) {
    pubsub.call("POST", &format!("{subscription}:acknowledge"), &json!({"ackIds": [message["ackId"]]})).await
}

async fn nack(pubsub: &PubSub, subscription: &str, message: &Value) {
    let body = json!({"ackIds": [message["ackId"]], "ackDeadlineSeconds": 0});
    let (status, answer) = pubsub.call("POST", &format!("{subscription}:modifyAckDeadline"), &body).await;
    assert_eq!((status, answer), (200, json!({})));
}

#[tokio::test]
async fn a_filter_lets_through_what_it_names() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("filtered")).await;
    let filter = json!({"filter": "attributes.kind = \"ticket\" AND NOT attributes:test"});
    let subscription = bus.create_subscription(&unique("filtered"), &topic, filter).await;
    for attributes in [&[("kind", "other")][..], &[("kind", "ticket"), ("test", "1")], &[]] {
        bus.publish(&topic, b"no", attributes).await;
    }
    bus.publish(&topic, b"yes", &[("kind", "ticket")]).await;
    assert_eq!(bus.pull_one(&subscription).await.data, "yes");
    assert_eq!(bus.handle().backlog(&subscription), Some(0));
}

async fn the_last_attempt_makes_a_dead_letter_that_says_where_it_comes_from(pubsub: &PubSub) {
    let (dead, dead_subscription) = pubsub.create_topic_and_subscription(&unique("dead")).await;
    let topic = pubsub.create_topic(&unique("poison")).await;
    let policy = json!({"deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 5}});
    let id = unique("poison");
    let subscription = pubsub.create_subscription(&id, &topic, policy).await;
    pubsub.publish(&topic, b"poison", &[("own", "kept")]).await;
    let mut published = Value::Null;
    for attempt in 1..=5 {
        let messages = lease(pubsub, &subscription, 10).await;
        assert_eq!((messages.len(), &messages[0]["deliveryAttempt"]), (1, &json!(attempt)), "{messages:?}");
        published = messages[0]["message"]["publishTime"].clone();
        nack(pubsub, &subscription, &messages[0]).await;
    }
    // The emulator forwards it when the next pull comes.
    assert!(peek(pubsub, &subscription).await.is_empty());
    let letter = pubsub.pull_one(&dead_subscription).await;
    assert_eq!((letter.data.as_ref(), letter.attribute("own")), (&b"poison"[..], "kept"));
    for (name, value) in [
        ("DeliveryCount", "5"),
        ("Subscription", &id),
        ("SubscriptionProject", pubsub.project()),
        ("TopicPublishTime", published.as_str().unwrap()),
    ] {
        assert_eq!(letter.attribute(&format!("CloudPubSubDeadLetterSource{name}")), value);
    }
}

async fn a_key_waits_for_its_first_message_and_others_do_not(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("keys")).await;
    for (data, key) in [("MQ==", "a"), ("Mg==", "a"), ("Mw==", "b")] {
        pubsub.publish_messages(&topic, &[json!({"data": data, "orderingKey": key})]).await;
    }
    let first = lease(pubsub, &subscription, 1).await;
    assert_eq!(first[0]["message"]["data"], "MQ==");
    let other = lease(pubsub, &subscription, 10).await;
    assert_eq!((other.len(), &other[0]["message"]["data"]), (1, &json!("Mw==")));
    acknowledge(pubsub, &subscription, &first[0]).await;
    assert_eq!(lease(pubsub, &subscription, 10).await[0]["message"]["data"], "Mg==");
}

#[tokio::test]
async fn a_refused_message_brings_back_the_rest_of_its_key_in_order() {
    let bus = Bus::shared();
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("order")).await;
    let message = |data: &str| json!({"data": data, "orderingKey": "a"});
    bus.publish_messages(&topic, &["MQ==", "Mg==", "Mw=="].map(message)).await;
    let data = |messages: &[Value]| -> Vec<String> {
        messages.iter().map(|message| message["message"]["data"].as_str().unwrap().to_owned()).collect()
    };
    let run = lease(bus, &subscription, 2).await;
    assert_eq!(data(&run), ["MQ==", "Mg=="]);
    acknowledge(bus, &subscription, &run[1]).await;
    nack(bus, &subscription, &run[0]).await;
    assert_eq!(data(&lease(bus, &subscription, 10).await), ["MQ==", "Mg==", "Mw=="]);
}

#[tokio::test]
async fn a_waiting_pull_gets_what_is_published_then() {
    let bus = Bus::shared();
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("waiting")).await;
    let publish = async {
        bus.publish(&topic, b"late", &[]).await;
    };
    let (messages, ()) = tokio::join!(lease(bus, &subscription, 10), publish);
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn refused_messages_wait_as_the_retry_policy_says() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("backoff")).await;
    let policy = json!({"retryPolicy": {"minimumBackoff": "600s", "maximumBackoff": "600s"}});
    let subscription = bus.create_subscription(&unique("backoff"), &topic, policy).await;
    bus.publish(&topic, b"x", &[]).await;
    nack(bus, &subscription, &lease(bus, &subscription, 1).await[0]).await;
    assert!(peek(bus, &subscription).await.is_empty());
    bus.handle().retry_now(&subscription).unwrap();
    assert_eq!(peek(bus, &subscription).await.len(), 1);
}

#[tokio::test]
async fn exactly_once_refuses_the_id_of_a_delivery_that_is_over() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("once")).await;
    let subscription =
        bus.create_subscription(&unique("once"), &topic, json!({"enableExactlyOnceDelivery": true})).await;
    bus.publish(&topic, b"x", &[]).await;
    let first = lease(bus, &subscription, 1).await.remove(0);
    nack(bus, &subscription, &first).await;
    let second = lease(bus, &subscription, 1).await.remove(0);
    let (status, body) = acknowledge(bus, &subscription, &first).await;
    let error = &body["error"];
    assert_eq!((status, &error["status"]), (400, &json!("FAILED_PRECONDITION")));
    let id = first["ackId"].as_str().unwrap();
    assert_eq!(error["details"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    assert_eq!(error["details"][0]["metadata"][id], "PERMANENT_FAILURE_INVALID_ACK_ID");
    assert_eq!(acknowledge(bus, &subscription, &second).await, (200, json!({})));
}

#[tokio::test]
async fn a_seek_replays_what_was_kept() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("seek")).await;
    let update = json!({"topic": {"messageRetentionDuration": "600s"}, "updateMask": "messageRetentionDuration"});
    assert_eq!(bus.call("PATCH", &topic, &update).await.0, 200);
    bus.publish(&topic, b"before the subscription", &[]).await;
    let subscription = bus.create_pull(&unique("seek"), &topic).await;
    let retains = bus.create_subscription(&unique("retains"), &topic, json!({"retainAckedMessages": true})).await;
    bus.publish(&topic, b"acknowledged", &[]).await;
    for subscription in [&subscription, &retains] {
        assert_eq!(bus.pull_one(subscription).await.data, "acknowledged");
    }
    let seek = async |subscription: &str, time: &str| {
        let seek = bus.call("POST", &format!("{subscription}:seek"), &json!({"time": time})).await;
        assert_eq!(seek, (200, json!({})));
    };
    seek(&subscription, "2020-01-01T00:00:00Z").await;
    seek(&retains, "2020-01-01T00:00:00Z").await;
    for subscription in [&subscription, &retains] {
        let data = bus.pull(subscription, 2, Duration::from_secs(10)).await;
        assert_eq!(
            data.iter().map(|message| &message.data[..]).collect::<Vec<_>>(),
            [&b"before the subscription"[..], b"acknowledged"]
        );
    }
    bus.publish(&topic, b"skipped", &[]).await;
    seek(&subscription, "2100-01-01T00:00:00Z").await;
    assert_eq!(bus.handle().backlog(&subscription), Some(0));
}

#[tokio::test]
async fn a_watcher_sees_each_step() {
    let bus = Bus::start();
    let (topic, subscription) = bus.create_topic_and_subscription("watched").await;
    bus.create_subscription("filtered", &topic, json!({"filter": "attributes:x"})).await;
    let mut events = bus.handle().events();
    let id = bus.publish(&topic, b"data", &[]).await;
    nack(&bus, &subscription, &lease(&bus, &subscription, 1).await[0]).await;
    acknowledge(&bus, &subscription, &lease(&bus, &subscription, 1).await[0]).await;
    let name: std::sync::Arc<str> = subscription.as_str().into();
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let Ok(event) = events.try_recv() else { break };
        assert_eq!(event.message.id(), id);
        seen.push(event.kind);
    }
    let (delivered, subscription) =
        (|attempt| EventKind::Delivered { subscription: name.clone(), attempt }, name.clone());
    let expected = [
        EventKind::Published { topic: topic.as_str().into() },
        EventKind::Filtered { subscription: bus.subscription_name("filtered").as_str().into() },
        delivered(1),
        EventKind::Nacked { subscription: subscription.clone(), reason: NackReason::Subscriber },
        delivered(2),
        EventKind::Acked { subscription },
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_end_answers_who_waits_and_frees_the_port() {
    let bus = Bus::start();
    let host = bus.host().to_owned();
    let (_, subscription) = bus.create_topic_and_subscription("ends").await;
    let body = json!({"maxMessages": 1}).to_string();
    let pull = format!(
        "POST /v1/{subscription}:pull HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(&host).await.unwrap();
    stream.write_all(pull.as_bytes()).await.unwrap();
    // A second request on another connection is answered: the first, which came before, is being served.
    bus.create_topic("after").await;
    tokio::task::spawn_blocking(move || drop(bus)).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("{}\n"), "{answer}");
    drop(Bus::start_at(&host, Limits::default()));
}
