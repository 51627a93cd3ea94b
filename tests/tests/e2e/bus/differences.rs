//! Where Google's emulator behaves unlike the service, and the local Pub/Sub like it. Each difference is observed, so
//! that a difference that has gone is noticed.

use std::pin::Pin;

use serde_json::{Value, json};
use tests::{Bus, Emulator, Endpoint, PubSub, unique};

type Probe = for<'a> fn(&'a PubSub) -> Pin<Box<dyn Future<Output = Value> + 'a>>;

struct Difference {
    what: &'static str,
    probe: Probe,
    local: Value,
    emulator: Value,
}

#[tokio::test]
async fn the_emulator_differs_from_the_service_exactly_here() {
    let differences = [
        Difference {
            what: "a subscription's filter",
            probe: |pubsub| Box::pin(filtered(pubsub)),
            local: json!(["matching"]),
            emulator: json!(["other", "matching"]),
        },
        Difference {
            what: "an acknowledgement deadline of 5 s, status",
            probe: |pubsub| Box::pin(create(pubsub, json!({"ackDeadlineSeconds": 5}), |status, _| json!(status))),
            local: json!(400),
            emulator: json!(200),
        },
        Difference {
            what: "what a new subscription tells of its expiration",
            probe: |pubsub| Box::pin(create(pubsub, json!({}), |_, body| body["expirationPolicy"]["ttl"].clone())),
            local: json!("2678400s"),
            emulator: Value::Null,
        },
        Difference {
            what: "labels in an update mask, status",
            probe: |pubsub| Box::pin(update_labels(pubsub)),
            local: json!(200),
            emulator: json!(400),
        },
        Difference {
            what: "a pull from a push subscription, status",
            probe: |pubsub| Box::pin(pull_pushed(pubsub)),
            local: json!(400),
            emulator: json!(200),
        },
        Difference {
            what: "the words for a missing topic",
            probe: |pubsub| Box::pin(missing(pubsub)),
            local: json!("Resource not found (resource=missing)."),
            emulator: json!("Topic not found"),
        },
        Difference {
            what: "an acknowledgement of a delivery that is over, exactly once",
            probe: |pubsub| Box::pin(acknowledge_twice(pubsub)),
            local: json!("FAILED_PRECONDITION"),
            emulator: json!("INVALID_ARGUMENT"),
        },
        Difference {
            what: "what a push carries of token, attempt and ordering key",
            probe: |pubsub| Box::pin(pushed(pubsub)),
            local: json!({"token": true, "attempt": 1, "key": "k"}),
            emulator: json!({"token": false, "attempt": null, "key": null}),
        },
        Difference {
            what: "how often a push comes that is answered 202",
            probe: |pubsub| Box::pin(accepted(pubsub)),
            local: json!(1),
            emulator: json!(2),
        },
    ];
    for Difference { what, probe, local, emulator } in differences {
        assert_ne!(local, emulator, "{what}");
        assert_eq!(probe(Bus::shared()).await, local, "{what}");
        if let Some(google) = Emulator::shared() {
            assert_eq!(probe(google).await, emulator, "{what}, Google's emulator");
        }
    }
}

/// Creates a subscription to a new topic.
async fn create(pubsub: &PubSub, mut fields: Value, look: fn(u16, Value) -> Value) -> Value {
    let id = unique("difference");
    fields["topic"] = json!(pubsub.create_topic(&id).await);
    let (status, body) = pubsub.call("PUT", &pubsub.subscription_name(&id), &fields).await;
    look(status, body)
}

async fn filtered(pubsub: &PubSub) -> Value {
    let id = unique("difference");
    let topic = pubsub.create_topic(&id).await;
    let subscription = pubsub.create_subscription(&id, &topic, json!({"filter": "attributes:kind"})).await;
    let all = pubsub.create_pull(&unique("difference"), &topic).await;
    pubsub.publish(&topic, b"other", &[("a", "b")]).await;
    pubsub.publish(&topic, b"matching", &[("kind", "x")]).await;
    // By the time that another subscription has them, this one has them too, if at all.
    let patience = std::time::Duration::from_secs(10);
    assert_eq!(pubsub.pull(&all, 2, patience).await.len(), 2);
    let mut data = Vec::new();
    while data.last().is_none_or(|last| last != "matching") {
        let next = pubsub.pull_one(&subscription).await;
        data.push(String::from_utf8(next.data.to_vec()).unwrap());
    }
    json!(data)
}

async fn update_labels(pubsub: &PubSub) -> Value {
    let (_, subscription) = pubsub.create_topic_and_subscription(&unique("difference")).await;
    let update = json!({"subscription": {"labels": {"a": "b"}}, "updateMask": "labels"});
    json!(pubsub.call("PATCH", &subscription, &update).await.0)
}

async fn pull_pushed(pubsub: &PubSub) -> Value {
    let id = unique("difference");
    let topic = pubsub.create_topic(&id).await;
    let subscription = pubsub.create_push(&id, &topic, "http://127.0.0.1:1/").await;
    let pull = json!({"maxMessages": 1, "returnImmediately": true});
    json!(pubsub.call("POST", &format!("{subscription}:pull"), &pull).await.0)
}

async fn missing(pubsub: &PubSub) -> Value {
    pubsub.call("GET", &pubsub.topic_name("missing"), &json!({})).await.1["error"]["message"].clone()
}

async fn acknowledge_twice(pubsub: &PubSub) -> Value {
    let id = unique("difference");
    let topic = pubsub.create_topic(&id).await;
    let subscription = pubsub.create_subscription(&id, &topic, json!({"enableExactlyOnceDelivery": true})).await;
    pubsub.publish(&topic, b"x", &[]).await;
    let (_, pulled) = pubsub.call("POST", &format!("{subscription}:pull"), &json!({"maxMessages": 1})).await;
    let ids = json!({"ackIds": [pulled["receivedMessages"][0]["ackId"]]});
    let acknowledge = format!("{subscription}:acknowledge");
    assert_eq!(pubsub.call("POST", &acknowledge, &ids).await.0, 200);
    pubsub.call("POST", &acknowledge, &ids).await.1["error"]["status"].clone()
}

async fn pushed(pubsub: &PubSub) -> Value {
    let mut endpoint = Endpoint::start(|_| 200).await;
    let id = unique("difference");
    let topic = pubsub.create_topic(&id).await;
    let dead = pubsub.create_topic(&unique("difference")).await;
    let token = json!({"serviceAccountEmail": "sa@p.iam.gserviceaccount.com"});
    let fields = json!({
        "pushConfig": {"pushEndpoint": endpoint.url(), "oidcToken": token},
        "deadLetterPolicy": {"deadLetterTopic": dead}, "enableMessageOrdering": true,
    });
    pubsub.create_subscription(&id, &topic, fields).await;
    pubsub.publish_messages(&topic, &[json!({"data": "eA==", "orderingKey": "k"})]).await;
    let push = endpoint.next().await;
    let body = push.json();
    let token = push.header("authorization").starts_with("Bearer ");
    json!({"token": token, "attempt": body["deliveryAttempt"], "key": body["message"]["orderingKey"]})
}

async fn accepted(pubsub: &PubSub) -> Value {
    let mut first = true;
    let mut endpoint = Endpoint::start(move |_| if std::mem::take(&mut first) { 202 } else { 200 }).await;
    let id = unique("difference");
    let topic = pubsub.create_topic(&id).await;
    pubsub.create_push(&id, &topic, endpoint.url()).await;
    pubsub.publish(&topic, b"first", &[]).await;
    endpoint.next().await;
    pubsub.publish(&topic, b"second", &[]).await;
    let mut came = 1;
    // The emulator waits for about a second before it comes again.
    let patience = tokio::time::sleep(std::time::Duration::from_secs(4));
    tokio::pin!(patience);
    loop {
        tokio::select! {
            push = endpoint.next() => came += u32::from(push.json()["message"]["data"] == "Zmlyc3Q="),
            () = &mut patience => return json!(came),
        }
    }
}
