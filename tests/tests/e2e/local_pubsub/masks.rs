//! Update masks that name fields within fields, on both forms of the API.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::subscriber_client::SubscriberClient;
use serde_json::{Value, json};
use tests::{LocalPubSub, unique};
use tonic::Code;

use super::channel;

/// A push subscription with everything set, and a dead-letter topic.
async fn full(bus: &LocalPubSub) -> (String, Value) {
    let id = unique("masks");
    let (topic, dead) = (bus.create_topic(&id).await, bus.create_topic(&format!("{id}-dead")).await);
    let fields = json!({
        "pushConfig": {
            "pushEndpoint": "http://127.0.0.1:1/", "attributes": {"x-goog-version": "v1"},
            "oidcToken": {"serviceAccountEmail": "sa@p.iam.gserviceaccount.com", "audience": "before"},
        },
        "deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 5},
        "retryPolicy": {"minimumBackoff": "1s", "maximumBackoff": "60s"},
        "expirationPolicy": {"ttl": "2678400s"}, "labels": {"a": "1", "b": "2"},
    });
    let name = bus.create_subscription(&id, &topic, fields).await;
    let (_, created) = bus.call("GET", &name, &json!({})).await;
    (name, created)
}

#[tokio::test]
async fn a_field_of_a_field_is_changed_alone_in_either_spelling() {
    let bus = LocalPubSub::shared();
    let wrapper = json!({"pushConfig": {"noWrapper": {"writeMetadata": true}}});
    for (paths, changed, pointer, expected) in [
        (
            ["push_config.push_endpoint", "pushConfig.pushEndpoint"],
            json!({"pushConfig": {"pushEndpoint": "http://127.0.0.1:2/"}}),
            "/pushConfig/pushEndpoint",
            json!("http://127.0.0.1:2/"),
        ),
        (
            ["push_config.oidc_token.audience", "pushConfig.oidcToken.audience"],
            json!({"pushConfig": {"oidcToken": {"audience": "after"}}}),
            "/pushConfig/oidcToken/audience",
            json!("after"),
        ),
        (["push_config.oidc_token", "pushConfig.oidcToken"], json!({}), "/pushConfig/oidcToken", Value::Null),
        (["push_config.attributes", "pushConfig.attributes"], json!({}), "/pushConfig/attributes", Value::Null),
        (
            ["push_config.no_wrapper.write_metadata", "pushConfig.noWrapper.writeMetadata"],
            wrapper.clone(),
            "/pushConfig/noWrapper",
            json!({"writeMetadata": true}),
        ),
        (
            ["push_config.no_wrapper", "pushConfig.noWrapper"],
            wrapper,
            "/pushConfig/noWrapper",
            json!({"writeMetadata": true}),
        ),
        (
            ["dead_letter_policy.max_delivery_attempts", "deadLetterPolicy.maxDeliveryAttempts"],
            json!({"deadLetterPolicy": {"maxDeliveryAttempts": 17}}),
            "/deadLetterPolicy/maxDeliveryAttempts",
            json!(17),
        ),
        (
            ["retry_policy.minimum_backoff", "retryPolicy.minimumBackoff"],
            json!({"retryPolicy": {"minimumBackoff": "2s"}}),
            "/retryPolicy/minimumBackoff",
            json!("2s"),
        ),
        (
            ["expiration_policy.ttl", "expirationPolicy.ttl"],
            json!({"expirationPolicy": {"ttl": "864000s"}}),
            "/expirationPolicy/ttl",
            json!("864000s"),
        ),
        (["labels.a", " labels.a "], json!({"labels": {"a": "9", "b": "8"}}), "/labels", json!({"a": "9", "b": "2"})),
        (["labels.a", "labels.a"], json!({}), "/labels", json!({"b": "2"})),
    ] {
        for path in paths {
            let (name, mut current) = full(bus).await;
            let update = json!({"subscription": changed, "updateMask": path});
            let (status, updated) = bus.call("PATCH", &name, &update).await;
            assert_eq!(status, 200, "{path}: {updated}");
            assert_eq!(updated.pointer(pointer).unwrap_or(&Value::Null), &expected, "{path}: {updated}");
            // Nothing else is changed.
            let mut rest = updated.clone();
            for other in [&mut current, &mut rest] {
                let (parent, field) = pointer.rsplit_once('/').unwrap();
                other.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
            }
            assert_eq!(rest, current, "{path}");
            assert_eq!(bus.call("GET", &name, &json!({})).await, (200, updated), "{path}");
        }
    }
}

#[tokio::test]
async fn masks_of_grpc_are_those_of_rest() {
    let bus = LocalPubSub::shared();
    let mut client = SubscriberClient::new(channel(bus).await);
    let mut update = async |name: &str, path: &str| {
        let push_config = pb::PushConfig { push_endpoint: "http://127.0.0.1:3/".into(), ..Default::default() };
        let subscription =
            Some(pb::Subscription { name: name.into(), push_config: Some(push_config), ..Default::default() });
        let update_mask = Some(prost_types::FieldMask { paths: vec![path.into()] });
        client.update_subscription(pb::UpdateSubscriptionRequest { subscription, update_mask }).await
    };
    for path in ["push_config.push_endpoint", "pushConfig.pushEndpoint"] {
        let (name, _) = full(bus).await;
        let push = update(&name, path).await.unwrap().into_inner().push_config.unwrap();
        assert_eq!(push.push_endpoint, "http://127.0.0.1:3/");
        assert!(push.authentication_method.is_some() && !push.attributes.is_empty(), "{push:?}");
    }
    let (name, _) = full(bus).await;
    for (path, words) in [
        ("push_config.colour", "'push_config.colour' is not a known Subscription field"),
        ("pushConfig.pushEndpoint.host", "'pushConfig.pushEndpoint.host' is not a known Subscription field"),
        ("filter", "'filter' field in the Subscription is not mutable"),
    ] {
        let status = update(&name, path).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{path}");
        assert!(status.message().contains(words), "{path}: {status:?}");
    }
}

#[tokio::test]
async fn paths_that_name_nothing_or_what_cannot_change_are_refused_by_name() {
    let bus = LocalPubSub::shared();
    let (name, created) = full(bus).await;
    let topic = created["topic"].as_str().unwrap().to_owned();
    for path in [
        "",
        "*",
        "push_config.",
        ".push_config",
        "pushConfig.oidcToken.email",
        "push_config.oidc_token.audience.x",
        "retry_policy.minimumBackoff.seconds",
        "expiration_policy.tll",
        "labels.a.b",
        "ack_deadline_seconds.x",
        "PushConfig",
        "dead_letter_policy.name",
    ] {
        let (status, refused) = bus.call("PATCH", &name, &json!({"subscription": {}, "updateMask": path})).await;
        assert_eq!((status, &refused["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{path}: {refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(path), "{path}: {refused}");
    }
    for path in [
        "name",
        "topic",
        "filter",
        "enableMessageOrdering",
        "detached",
        "state",
        "topicMessageRetentionDuration",
        "tags",
    ] {
        let (status, refused) = bus.call("PATCH", &name, &json!({"subscription": {}, "updateMask": path})).await;
        assert_eq!(status, 400, "{path}: {refused}");
        let words = format!("'{path}' field in the Subscription is not mutable");
        assert!(refused["error"]["message"].as_str().unwrap().contains(&words), "{path}: {refused}");
    }
    // A mask of which one path is refused changes nothing.
    let update = json!({"subscription": {"ackDeadlineSeconds": 99}, "updateMask": "ackDeadlineSeconds,colour"});
    assert_eq!(bus.call("PATCH", &name, &update).await.0, 400);
    assert_eq!(bus.call("GET", &name, &json!({})).await, (200, created));
    // What a nested path makes is checked as a whole.
    let update = json!({"subscription": {"deadLetterPolicy": {"maxDeliveryAttempts": 4}}, "updateMask":
        "deadLetterPolicy.maxDeliveryAttempts"});
    let (status, refused) = bus.call("PATCH", &name, &update).await;
    assert_eq!(status, 400);
    assert!(refused["error"]["message"].as_str().unwrap().contains("4 is not within 5 to 100"), "{refused}");

    for (path, words) in [
        ("colour", "'colour' is not a known Topic field"),
        ("messageStoragePolicy.colour", "'messageStoragePolicy.colour' is not a known Topic field"),
        ("name", "'name' field in the Topic is not mutable"),
        ("state", "'state' field in the Topic is not mutable"),
    ] {
        let (status, refused) = bus.call("PATCH", &topic, &json!({"topic": {}, "updateMask": path})).await;
        assert_eq!(status, 400);
        assert!(refused["error"]["message"].as_str().unwrap().contains(words), "{refused}");
    }
    for path in ["message_storage_policy.allowed_persistence_regions", "messageStoragePolicy.allowedPersistenceRegions"]
    {
        let policy = json!({"allowedPersistenceRegions": ["europe-west1"]});
        let update = json!({"topic": {"messageStoragePolicy": policy}, "updateMask": path});
        assert_eq!(bus.call("PATCH", &topic, &update).await.1["messageStoragePolicy"], policy);
    }
}
