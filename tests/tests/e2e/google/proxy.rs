//! What the proxies pass on, and what they add to it.

use std::sync::Arc;

use deploy::cloud::Api::{PubSub, Storage};
use function::clients::{Clients, Cloud};
use function::{Destination, Message, Sinks, TaskResult};
use http::Method;
use serde_json::{Value, json};
use tests::unique;

use super::rig;

fn policy(etag: &Value) -> Value {
    json!({"etag": etag, "bindings": [{"role": "roles/pubsub.publisher", "members": ["user:a@example.com"]}]})
}

#[tokio::test]
async fn pubsub_is_the_emulator_with_policies() {
    let Some(rig) = rig() else { return };
    let pubsub = rig.google.pubsub();
    let (topic, subscription) = pubsub.create_topic_and_subscription("work").await;
    pubsub.publish(&topic, b"one", &[]).await;
    assert_eq!(pubsub.pull_one(&subscription).await.data, "one");

    for name in [&topic, &subscription] {
        let path = format!("/v1/{name}");
        let never = rig.get(PubSub, &format!("{path}:getIamPolicy")).await;
        let set = format!("{path}:setIamPolicy");
        let first = rig.ok(PubSub, Method::POST, &set, json!({"policy": policy(&never["etag"])})).await;
        let stale = rig.refused(PubSub, Method::POST, &set, json!({"policy": policy(&never["etag"])})).await;
        assert!(stale.0 == 409 && stale.1.starts_with("ABORTED"), "{stale:?}");
        assert_eq!(rig.get(PubSub, &format!("{path}:getIamPolicy")).await, first);
        let asked = json!({"permissions": ["pubsub.topics.publish"]});
        assert_eq!(rig.ok(PubSub, Method::POST, &format!("{path}:testIamPermissions"), asked.clone()).await, asked);
        rig.ok(PubSub, Method::DELETE, &path, Value::Null).await;
        assert_eq!(rig.refused(PubSub, Method::GET, &format!("{path}:getIamPolicy"), Value::Null).await.0, 404);
    }
    pubsub.create_topic("work").await;
    assert_eq!(rig.get(PubSub, &format!("/v1/{topic}:getIamPolicy")).await["bindings"], Value::Null);
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn pubsub_speaks_grpc_too() {
    let Some(rig) = rig() else { return };
    let pubsub = rig.google.pubsub();
    let (topic, subscription) = pubsub.create_topic_and_subscription("results").await;
    let cloud = Cloud {
        project: None,
        pubsub_emulator: Some(rig.google.host(PubSub).to_owned()),
        storage_emulator: Some(rig.google.host(Storage).to_owned()),
    };
    let destination: Destination = topic.parse().unwrap();
    let sinks = Sinks::new(&[destination], &Arc::new(Clients::new(cloud)));
    let message = Message { id: "17".into(), ..Message::default() };
    sinks.deliver(&TaskResult::new("embed", "s", &message, "{}".into())).await.unwrap();
    assert_eq!(pubsub.pull_one(&subscription).await.data, "{}");
    let published = rig.google.mutations().into_iter().find(|request| request.path.ends_with("/Publish")).unwrap();
    assert_eq!((published.api, published.status), (PubSub, Some(200)));
}

#[tokio::test]
async fn a_bucket_keeps_what_it_is_given() {
    let Some(rig) = rig() else { return };
    let bucket = unique("kept");
    let one = format!("/storage/v1/b/{bucket}");
    let body = json!({
        "name": bucket, "location": "europe-west1", "labels": {"managed-by": "me"},
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}, "publicAccessPrevention": "enforced"},
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]},
    });
    rig.ok(Storage, Method::POST, "/storage/v1/b?project={P}", body.clone()).await;
    assert_eq!(rig.refused(Storage, Method::POST, "/storage/v1/b?project={P}", body.clone()).await.0, 409);
    assert_eq!(rig.refused(Storage, Method::POST, "/storage/v1/b?project=other", body.clone()).await.0, 403);
    let made = rig.get(Storage, &one).await;
    assert_eq!((&made["location"], &made["locationType"]), (&json!("EUROPE-WEST1"), &json!("region")));
    assert_eq!((&made["labels"], &made["lifecycle"]), (&body["labels"], &body["lifecycle"]));
    assert_eq!(made["iamConfiguration"]["uniformBucketLevelAccess"], json!({"enabled": true}));
    assert_eq!((&made["storageClass"], &made["metageneration"]), (&json!("STANDARD"), &json!("1")));

    let patch = json!({"labels": {"a": "1", "managed-by": null}, "lifecycle": null});
    let stale = format!("{one}?ifMetagenerationMatch=7");
    assert_eq!(rig.refused(Storage, Method::PATCH, &stale, patch.clone()).await.0, 412);
    rig.ok(Storage, Method::PATCH, &format!("{one}?ifMetagenerationMatch=1"), patch).await;
    let patched = rig.get(Storage, &one).await;
    assert_eq!((&patched["labels"], &patched["lifecycle"]), (&json!({"a": "1"}), &Value::Null));
    assert_eq!((&patched["metageneration"], &patched["iamConfiguration"]), (&json!("2"), &made["iamConfiguration"]));
    let listed = rig.get(Storage, &format!("/storage/v1/b?project={{P}}&prefix={bucket}")).await;
    assert_eq!(listed["items"], json!([patched]));

    let iam = format!("{one}/iam");
    let never = rig.get(Storage, &iam).await;
    let set = rig.ok(Storage, Method::PUT, &iam, policy(&never["etag"])).await;
    assert_eq!(rig.refused(Storage, Method::PUT, &iam, policy(&never["etag"])).await.0, 412);
    assert_eq!(rig.get(Storage, &iam).await, set);

    let upload = format!("/upload/storage/v1/b/{bucket}/o?uploadType=media&name=a%2Fb&ifGenerationMatch=0");
    let url = rig.google.url(Storage, &upload);
    for expected in [200, 412] {
        assert_eq!(rig.client.post(&url).body("data").send().await.unwrap().status(), expected);
    }
    let object = rig.client.get(rig.google.url(Storage, &format!("{one}/o/a%2Fb?alt=media"))).send().await.unwrap();
    assert_eq!(object.text().await.unwrap(), "data");
    let (status, why) = rig.refused(Storage, Method::DELETE, &one, Value::Null).await;
    assert!(status == 409 && why.contains("not empty"), "{status} {why}");
    rig.ok(Storage, Method::DELETE, &format!("{one}/o/a%2Fb"), Value::Null).await;
    assert_eq!(rig.call(Storage, Method::DELETE, &one, Value::Null).await.0, 204);
    assert_eq!(rig.refused(Storage, Method::GET, &one, Value::Null).await.0, 404);
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

/// Both kinds of upload of Google's own client.
#[tokio::test]
async fn objects_come_through() {
    let Some(rig) = rig() else { return };
    let bucket = unique("objects");
    rig.ok(Storage, Method::POST, "/storage/v1/b?project={P}", json!({"name": bucket})).await;
    let cloud = Cloud {
        project: None,
        pubsub_emulator: Some(rig.google.host(PubSub).to_owned()),
        storage_emulator: Some(rig.google.host(Storage).to_owned()),
    };
    let destination: Destination = format!("gs://{bucket}/results/").parse().unwrap();
    let sinks = Sinks::new(&[destination], &Arc::new(Clients::new(cloud)));
    let message = Message { id: "17".into(), ..Message::default() };
    sinks.deliver(&TaskResult::new("embed", "s", &message, "{}".into())).await.unwrap();
    let listed = rig.get(Storage, &format!("/storage/v1/b/{bucket}/o")).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    let uploaded = rig.google.mutations().into_iter().find(|request| request.path.starts_with("/upload/")).unwrap();
    assert!(uploaded.body.is_object(), "{uploaded:?}");
    let name = uploaded.query.iter().find(|(name, _)| name == "name").unwrap().1.as_str();
    assert_eq!(listed["items"][0]["name"], name);

    // A resumable upload goes on through the proxy.
    let start = format!("/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=big");
    let started = rig.client.post(rig.google.url(Storage, &start)).json(&json!({})).send().await.unwrap();
    let location = started.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.contains(rig.google.host(Storage)), "{location}");
    assert_eq!(rig.client.put(&location).body("data").send().await.unwrap().status(), 200);
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}
