//! Which requests are accepted, and the texts of errors.

use std::ops::Deref;

use base64::prelude::{BASE64_STANDARD, Engine};
use pubsub::Limits;
use serde_json::{Value, json};
use tests::{Bus, unique};

use super::channel;

#[tokio::test]
async fn it_says_ok_and_serves_its_keys() {
    let bus = Bus::shared();
    let get = async |path: &str| {
        let answer = reqwest::get(format!("http://{}{path}", bus.host())).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/").await, (200, "Ok".to_owned()));
    let (status, keys) = get("/oauth2/v3/certs").await;
    let keys: Value = serde_json::from_str(&keys).unwrap();
    assert_eq!((status, &keys["keys"][0]["kty"], &keys["keys"][0]["alg"]), (200, &json!("RSA"), &json!("RS256")));
    for path in ["/nowhere", "/v2/projects/p/topics", "/v1/", "/v1beta2/projects/p/topics/t"] {
        let (status, answer) = get(path).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["error"]["status"]), (404, &json!("NOT_FOUND")), "{path}: {answer}");
    }
}

#[test]
fn only_loopback_addresses_are_served() {
    let error = pubsub::LocalPubSub::bind("0.0.0.0:0".parse().unwrap(), Limits::default()).unwrap_err();
    assert!(error.to_string().contains("loopback"), "{error}");
}

#[tokio::test]
async fn resources_are_created_completed_read_listed_changed_and_deleted() {
    let bus = Bus::start();
    let names = ["alpha", "beta", "gamma"];
    for id in names {
        let topic = bus.topic_name(id);
        let created = bus.call("PUT", &topic, &json!({"labels": {"env": "dev"}})).await;
        assert_eq!(created, (200, json!({"name": topic, "labels": {"env": "dev"}, "state": "ACTIVE"})));
        let subscription = bus.subscription_name(id);
        let created = bus.call("PUT", &subscription, &json!({"topic": topic})).await;
        let completed = json!({
            "name": subscription, "topic": topic, "pushConfig": {}, "ackDeadlineSeconds": 10,
            "messageRetentionDuration": "604800s", "expirationPolicy": {"ttl": "2678400s"}, "state": "ACTIVE",
        });
        assert_eq!(created, (200, completed.clone()));
        assert_eq!(bus.call("GET", &subscription, &json!({})).await, (200, completed));
    }
    for collection in ["topics", "subscriptions"] {
        let list = format!("projects/{}/{collection}", bus.project());
        let (_, first) = bus.call("GET", &format!("{list}?pageSize=2"), &json!({})).await;
        let token = first["nextPageToken"].as_str().unwrap();
        let (_, second) = bus.call("GET", &format!("{list}?pageSize=2&pageToken={token}"), &json!({})).await;
        assert_eq!(second["nextPageToken"], Value::Null);
        let pages = [&first, &second].map(|page| page[collection].as_array().unwrap().clone()).concat();
        let found: Vec<&str> = pages.iter().map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(found, names.map(|id| format!("projects/{}/{collection}/{id}", bus.project())));
    }
    let (topic, subscription) = (bus.topic_name("alpha"), bus.subscription_name("alpha"));
    let listed = bus.call("GET", &format!("{topic}/subscriptions"), &json!({})).await;
    assert_eq!(listed, (200, json!({"subscriptions": [subscription]})));

    let update = json!({
        "subscription": {"ackDeadlineSeconds": 20, "labels": {"a": "b"}, "retryPolicy": {"minimumBackoff": "0.5s"}},
        "updateMask": "ackDeadlineSeconds,retryPolicy",
    });
    let (status, changed) = bus.call("PATCH", &subscription, &update).await;
    assert_eq!((status, &changed["ackDeadlineSeconds"], &changed["labels"]), (200, &json!(20), &Value::Null));
    assert_eq!(changed["retryPolicy"], json!({"minimumBackoff": "0.5s", "maximumBackoff": "600s"}));
    // The expiration policy of a subscription that never expires is there, and empty.
    let update = json!({"subscription": {"expirationPolicy": {}}, "updateMask": "expiration_policy"});
    assert_eq!(bus.call("PATCH", &subscription, &update).await.1["expirationPolicy"], json!({}));
    let update = json!({"topic": {"messageRetentionDuration": "600s"}, "updateMask": "messageRetentionDuration"});
    assert_eq!(bus.call("PATCH", &topic, &update).await.1["messageRetentionDuration"], "600s");
    assert_eq!(bus.call("GET", &subscription, &json!({})).await.1["topicMessageRetentionDuration"], "600s");

    bus.publish(&topic, b"kept", &[]).await;
    assert_eq!(bus.call("DELETE", &topic, &json!({})).await, (200, json!({})));
    assert_eq!(bus.call("GET", &subscription, &json!({})).await.1["topic"], "_deleted-topic_");
    assert_eq!(bus.pull_one(&subscription).await.data, "kept");
    assert_eq!(bus.call("DELETE", &subscription, &json!({})).await, (200, json!({})));
    assert_eq!(bus.call("GET", &subscription, &json!({})).await.0, 404);

    let beta = bus.subscription_name("beta");
    assert_eq!(bus.call("POST", &format!("{beta}:detach"), &json!({})).await.0, 200);
    assert_eq!(bus.call("GET", &beta, &json!({})).await.1["detached"], true);
    let (status, refused) = bus.call("POST", &format!("{beta}:pull"), &json!({"maxMessages": 1})).await;
    assert_eq!((status, &refused["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
}

#[tokio::test]
async fn refusals_have_googles_statuses_and_words() {
    let bus = Bus::shared();
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("refusals")).await;
    let push = bus.create_push(&unique("refusals-push"), &topic, "http://127.0.0.1:1/").await;
    let id = topic.rsplit('/').next().unwrap();
    let missing = bus.topic_name("missing");
    let patch = |mask: &str| json!({"subscription": {}, "updateMask": mask});
    let message = |fields: Value| json!({"messages": [fields]});
    let attributes: serde_json::Map<String, Value> = (0..101).map(|n| (format!("key-{n}"), "v".into())).collect();
    let publish = format!("{topic}:publish");
    let new = bus.subscription_name("refused");
    let with = |mut fields: Value| {
        fields["topic"] = json!(topic);
        fields
    };
    let dead = |attempts: i32| {
        with(json!({"deadLetterPolicy": {"deadLetterTopic": missing, "maxDeliveryAttempts": attempts}}))
    };
    for (method, path, body, status, name, words) in [
        ("GET", &missing, json!({}), 404, "NOT_FOUND", "Resource not found (resource=missing)."),
        (
            "PUT",
            &topic,
            json!({}),
            409,
            "ALREADY_EXISTS",
            &*format!("Resource already exists in the project (resource={id})."),
        ),
        ("PUT", &bus.topic_name("ab"), json!({}), 400, "INVALID_ARGUMENT", "Invalid resource name given"),
        ("PUT", &bus.topic_name("google-topic"), json!({}), 400, "INVALID_ARGUMENT", "Invalid resource name given"),
        ("PUT", &bus.topic_name("labels"), json!({"labels": {"Env": "x"}}), 400, "INVALID_ARGUMENT", "Env=x"),
        ("PUT", &bus.topic_name("unknown"), json!({"colour": 1}), 400, "INVALID_ARGUMENT", "colour"),
        ("PUT", &bus.topic_name("schema"), json!({"schemaSettings": {}}), 501, "UNIMPLEMENTED", "schemaSettings"),
        (
            "POST",
            &format!("{missing}:publish"),
            message(json!({"data": "eA=="})),
            404,
            "NOT_FOUND",
            "(resource=missing)",
        ),
        ("POST", &publish, json!({}), 400, "INVALID_ARGUMENT", "message_count is too small"),
        ("POST", &publish, message(json!({"orderingKey": "k"})), 400, "INVALID_ARGUMENT", "is empty"),
        ("POST", &publish, message(json!({"data": "%"})), 400, "INVALID_ARGUMENT", "Base64 decoding failed"),
        ("POST", &publish, message(json!({"attributes": attributes})), 400, "INVALID_ARGUMENT", "maximum value is 100"),
        (
            "POST",
            &publish,
            message(json!({"attributes": {"a".repeat(257): "v"}})),
            400,
            "INVALID_ARGUMENT",
            "maximum value is 256",
        ),
        (
            "POST",
            &publish,
            message(json!({"attributes": {"a": "v".repeat(1025)}})),
            400,
            "INVALID_ARGUMENT",
            "maximum value is 1024",
        ),
        ("POST", &publish, message(json!({"attributes": {"googclient": "v"}})), 400, "INVALID_ARGUMENT", "googclient"),
        (
            "POST",
            &publish,
            message(json!({"data": "eA==", "orderingKey": "k".repeat(1025)})),
            400,
            "INVALID_ARGUMENT",
            "ordering_key_size",
        ),
        (
            "POST",
            &publish,
            message(json!({"data": BASE64_STANDARD.encode(vec![0; 10_000_001])})),
            400,
            "INVALID_ARGUMENT",
            "maximum value is 10000000",
        ),
        (
            "POST",
            &publish,
            json!({"messages": vec![json!({"data": "eA=="}); 1001]}),
            400,
            "INVALID_ARGUMENT",
            "maximum value is 1000",
        ),
        (
            "POST",
            &publish,
            message(json!({"data": "A".repeat(16 << 20)})),
            400,
            "INVALID_ARGUMENT",
            "payload size exceeds",
        ),
        ("PUT", &new, json!({"topic": missing}), 404, "NOT_FOUND", "(resource=missing)"),
        ("PUT", &new, json!({"topic": "topic"}), 400, "INVALID_ARGUMENT", "Invalid resource name given (name=topic)"),
        ("PUT", &new, with(json!({"ackDeadlineSeconds": 9})), 400, "INVALID_ARGUMENT", "9 is not within 10 to 600"),
        (
            "PUT",
            &new,
            with(json!({"ackDeadlineSeconds": "601"})),
            400,
            "INVALID_ARGUMENT",
            "601 is not within 10 to 600",
        ),
        (
            "PUT",
            &new,
            with(json!({"messageRetentionDuration": "599s"})),
            400,
            "INVALID_ARGUMENT",
            "599 s is not within",
        ),
        ("PUT", &new, with(json!({"messageRetentionDuration": "1 hour"})), 400, "INVALID_ARGUMENT", "600s"),
        ("PUT", &new, with(json!({"filter": "attributes.x ="})), 400, "INVALID_ARGUMENT", "Invalid filter"),
        (
            "PUT",
            &new,
            with(json!({"filter": format!("attributes:{}", "x".repeat(256))})),
            400,
            "INVALID_ARGUMENT",
            "256",
        ),
        ("PUT", &new, dead(4), 400, "INVALID_ARGUMENT", "4 is not within 5 to 100"),
        ("PUT", &new, dead(101), 400, "INVALID_ARGUMENT", "101 is not within 5 to 100"),
        ("PUT", &new, dead(5), 404, "NOT_FOUND", "(resource=missing)"),
        (
            "PUT",
            &new,
            with(json!({"retryPolicy": {"minimumBackoff": "601s"}})),
            400,
            "INVALID_ARGUMENT",
            "minimum_backoff",
        ),
        (
            "PUT",
            &new,
            with(json!({"pushConfig": {"pushEndpoint": "nowhere"}})),
            400,
            "INVALID_ARGUMENT",
            "endpoint=nowhere",
        ),
        ("PUT", &new, with(json!({"bigqueryConfig": {}})), 501, "UNIMPLEMENTED", "bigqueryConfig"),
        (
            "PATCH",
            &subscription,
            json!({"subscription": {}}),
            400,
            "INVALID_ARGUMENT",
            "must contain a non-empty paths list",
        ),
        (
            "PATCH",
            &subscription,
            patch("colour"),
            400,
            "INVALID_ARGUMENT",
            "'colour' is not a known Subscription field",
        ),
        (
            "PATCH",
            &subscription,
            patch("filter"),
            400,
            "INVALID_ARGUMENT",
            "'filter' field in the Subscription is not mutable",
        ),
        ("PATCH", &subscription, patch("enableMessageOrdering"), 400, "INVALID_ARGUMENT", "not mutable"),
        ("POST", &format!("{subscription}:pull"), json!({}), 400, "INVALID_ARGUMENT", "max_messages"),
        (
            "POST",
            &format!("{push}:pull"),
            json!({"maxMessages": 1}),
            400,
            "FAILED_PRECONDITION",
            "not supported for this subscription type",
        ),
        ("POST", &format!("{subscription}:acknowledge"), json!({}), 400, "INVALID_ARGUMENT", "No ack ids specified."),
        (
            "POST",
            &format!("{subscription}:acknowledge"),
            json!({"ackIds": ["x"]}),
            400,
            "INVALID_ARGUMENT",
            "invalid ack ID to the service (ack_id=x)",
        ),
        ("POST", &format!("{subscription}:seek"), json!({"snapshot": "s"}), 400, "INVALID_ARGUMENT", "name=s"),
        ("GET", &format!("{topic}:getPolicy"), json!({}), 404, "NOT_FOUND", "getPolicy"),
        ("POST", &format!("{topic}:getIamPolicy"), json!({}), 404, "NOT_FOUND", "POST"),
        ("POST", &topic, json!({}), 404, "NOT_FOUND", "no method POST"),
        ("POST", &format!("{subscription}:drain"), json!({}), 404, "NOT_FOUND", "drain"),
        ("GET", &format!("projects/{}/queues", bus.project()), json!({}), 404, "NOT_FOUND", "queues"),
        ("GET", &format!("{topic}/messages"), json!({}), 404, "NOT_FOUND", "messages"),
        ("GET", &"nowhere".to_owned(), json!({}), 404, "NOT_FOUND", "nowhere"),
        ("GET", &format!("projects/{}/schemas", bus.project()), json!({}), 501, "UNIMPLEMENTED", "no schemas"),
        (
            "POST",
            &format!("projects/{}/schemas:validate", bus.project()),
            json!({}),
            501,
            "UNIMPLEMENTED",
            "no schemas",
        ),
        ("GET", &format!("projects/{}/topics?pageSize=x", bus.project()), json!({}), 400, "INVALID_ARGUMENT", "page"),
    ] {
        let (code, answer) = bus.call(method, path, &body).await;
        let error = &answer["error"];
        assert_eq!(
            (code, &error["code"], &error["status"]),
            (status, &json!(status), &json!(name)),
            "{method} {path}: {answer}"
        );
        assert!(error["message"].as_str().unwrap().contains(words), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn a_full_bus_refuses_until_there_is_room() {
    let few = Bus::start_at("127.0.0.1:0", Limits { messages: 3, ..Limits::default() });
    let little = Bus::start_at("127.0.0.1:0", Limits { bytes: 1 << 20, ..Limits::default() });
    for (bus, data, count) in [(few, "eA==".to_owned(), 3), (little, "eHh4".repeat(100_000), 3)] {
        let (topic, subscription) = bus.create_topic_and_subscription("full").await;
        let publish = async || {
            let body = json!({"messages": [{"data": data}]});
            let (status, answer) = bus.call("POST", &format!("{topic}:publish"), &body).await;
            (status, answer["error"]["status"].clone())
        };
        for _ in 0..count {
            assert_eq!(publish().await, (200, Value::Null));
        }
        assert_eq!(publish().await, (429, json!("RESOURCE_EXHAUSTED")));
        bus.pull_one(&subscription).await;
        assert_eq!(publish().await, (200, Value::Null));
        // What no subscription takes takes no room.
        let other = bus.create_topic("other").await;
        bus.pull_one(&subscription).await;
        for _ in 0..10 {
            bus.publish(&other, b"passes by", &[]).await;
        }
    }
}

#[tokio::test]
async fn methods_that_are_not_here_are_unimplemented_over_grpc() {
    let bus = Bus::shared();
    let channel = channel(bus).await;
    for (path, words) in [
        ("/google.pubsub.v1.Publisher/Nothing", "google.pubsub.v1.Publisher/Nothing"),
        ("/google.pubsub.v1.Subscriber/Nothing", "google.pubsub.v1.Subscriber/Nothing"),
        ("/google.iam.v1.IAMPolicy/Nothing", "google.iam.v1.IAMPolicy/Nothing"),
        ("/google.pubsub.v1.SchemaService/CreateSchema", "no schemas"),
        ("/grpc.health.v1.Health/Check", "grpc.health.v1.Health/Check"),
        ("/nothing", "nothing"),
    ] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let called = client.unary(tonic::Request::new(()), path.parse().unwrap(), codec).await;
        let status = called.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented, "{path}: {status:?}");
        assert!(status.message().contains(words), "{path}: {status:?}");
    }
}

#[tokio::test]
async fn a_project_of_a_domain_has_a_colon_in_its_name() {
    let bus = Bus::shared().deref().clone().in_project("example.com:project");
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("domain")).await;
    bus.publish(&topic, b"message", &[]).await;
    assert_eq!(&*bus.pull_one(&subscription).await.data, b"message");
    let (status, listed) = bus.call("GET", "projects/example.com:project/topics", &json!({})).await;
    assert_eq!((status, &listed["topics"][0]["name"]), (200, &json!(topic)));
}
