//! Eventarc.

use deploy::cloud::Api::{Eventarc, PubSub, Run};
use http::Method;
use serde_json::{Value, json};

use super::{Rig, SERVICES, hello, rig};

const TRIGGERS: &str = "/v1/projects/{P}/locations/{R}/triggers";

fn trigger(topic: &str, account: &str) -> Value {
    json!({
        "destination": {"cloudRun": {"service": "s", "region": "europe-west1", "path": "/"}},
        "eventFilters": [{"attribute": "type", "value": "google.cloud.pubsub.topic.v1.messagePublished"}],
        "serviceAccount": account,
        "transport": {"pubsub": {"topic": topic}},
    })
}

/// A topic, a service and an account.
async fn parts(rig: &Rig) -> (String, String, String) {
    let topic = rig.google.pubsub().create_topic("work").await;
    let service = rig.service("s", hello()).await;
    (topic, service["uri"].as_str().unwrap().to_owned(), rig.account("trigger").await)
}

#[tokio::test]
async fn a_trigger_has_a_subscription_of_its_own() {
    let Some(rig) = rig() else { return };
    let (topic, uri, account) = parts(&rig).await;
    let one = format!("{TRIGGERS}/t");
    let operation = rig.ok(Eventarc, Method::POST, &format!("{TRIGGERS}?triggerId=t"), trigger(&topic, &account)).await;
    assert_eq!(rig.get(Eventarc, &one).await["transport"]["pubsub"], json!({"topic": topic}));
    // Another change has to wait.
    let patch = format!("{one}?updateMask=labels");
    rig.wait(Eventarc, "v1", &operation).await;
    let made = rig.get(Eventarc, &one).await;
    let subscription = made["transport"]["pubsub"]["subscription"].as_str().unwrap().to_owned();
    assert!(subscription.contains("/subscriptions/eventarc-europe-west1-t-sub-"), "{subscription}");
    let found = rig.get(PubSub, &format!("/v1/{subscription}")).await;
    let push = &found["pushConfig"];
    assert!(push["pushEndpoint"].as_str().unwrap().starts_with(&uri), "{found}");
    assert_eq!(push["oidcToken"]["serviceAccountEmail"], account);
    assert_eq!(found["retryPolicy"], json!({"minimumBackoff": "10s", "maximumBackoff": "600s"}));
    assert_eq!((&found["messageRetentionDuration"], &found["deadLetterPolicy"]), (&json!("86400s"), &Value::Null));

    let operation = rig.ok(Eventarc, Method::PATCH, &patch, json!({"labels": {"a": "1"}})).await;
    let (status, why) = rig.refused(Eventarc, Method::PATCH, &patch, json!({"labels": {"a": "2"}})).await;
    assert!(status == 409 && why.contains("unable to queue"), "{status} {why}");
    rig.wait(Eventarc, "v1", &operation).await;
    let listed = rig.get(Eventarc, TRIGGERS).await;
    assert_eq!(listed["triggers"][0]["labels"], json!({"a": "1"}));
    assert_eq!(listed["triggers"][0]["transport"], made["transport"]);
    // Another account: the subscription pushes as it.
    let other = rig.account("another").await;
    let change = json!({"serviceAccount": other});
    let operation = rig.ok(Eventarc, Method::PATCH, &format!("{one}?updateMask=serviceAccount"), change).await;
    rig.wait(Eventarc, "v1", &operation).await;
    let found = rig.get(PubSub, &format!("/v1/{subscription}")).await;
    assert_eq!(found["pushConfig"]["oidcToken"]["serviceAccountEmail"], other);

    let operation = rig.ok(Eventarc, Method::DELETE, &one, Value::Null).await;
    rig.wait(Eventarc, "v1", &operation).await;
    assert_eq!(rig.refused(Eventarc, Method::GET, &one, Value::Null).await.0, 404);
    assert_eq!(rig.refused(PubSub, Method::GET, &format!("/v1/{subscription}"), Value::Null).await.0, 404);
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_trigger_refers_to_is_there() {
    let Some(rig) = rig() else { return };
    let (topic, _, account) = parts(&rig).await;
    let create = format!("{TRIGGERS}?triggerId=t");
    let missing = rig.google.pubsub().topic_name("missing");
    assert_eq!(rig.refused(Eventarc, Method::POST, &create, trigger(&missing, &account)).await.0, 404);
    assert_eq!(rig.refused(Eventarc, Method::POST, &create, trigger(&topic, "nobody@example.com")).await.0, 400);
    let mut wrong = trigger(&topic, &account);
    wrong["destination"]["cloudRun"]["service"] = json!("other");
    assert_eq!(rig.refused(Eventarc, Method::POST, &create, wrong).await.0, 404);
    assert_eq!(rig.get(Eventarc, TRIGGERS).await, json!({}));

    rig.ok(Eventarc, Method::POST, &create, trigger(&topic, &account)).await;
    assert_eq!(rig.refused(Eventarc, Method::POST, &create, trigger(&topic, &account)).await.0, 409);
    rig.ok(Run, Method::GET, &format!("{SERVICES}/s"), Value::Null).await;
}
