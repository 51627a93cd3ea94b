//! Results and dead letters on the local Pub/Sub, Google's emulator, and fake-gcs-server.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use function::clients::{Clients, Cloud};
use function::{DeadLetter, Destination, Message, SinkError, Sinks, TaskResult};
use pubsub::Limits;
use tests::{Bus, Emulator, PubSub, Storage, free_port, unique};

on_every_pubsub!(
    a_published_result_has_its_attributes_and_ordering_key,
    results_of_one_ordering_key_keep_their_order,
    the_largest_message_goes_through_and_one_more_byte_is_refused,
    a_missing_topic_is_a_passing_fault_that_names_it,
    a_dead_letter_is_the_original_and_why,
    one_failing_destination_does_not_keep_the_result_from_the_others,
);

fn clients(pubsub: &str, storage: &str) -> Arc<Clients> {
    Arc::new(Clients::new(Cloud {
        project: None,
        pubsub_emulator: Some(pubsub.to_owned()),
        storage_emulator: Some(storage.to_owned()),
    }))
}

fn sinks(destinations: &[&str], clients: &Arc<Clients>) -> Sinks {
    let destinations: Vec<Destination> = destinations.iter().map(|text| text.parse().unwrap()).collect();
    Sinks::new(&destinations, clients)
}

fn input(attributes: &[(&str, &str)]) -> Message {
    Message {
        id: "17".into(),
        source: "//pubsub.googleapis.com/projects/p/topics/t".into(),
        kind: "google.cloud.pubsub.topic.v1.messagePublished".into(),
        data: Bytes::from_static(b"\x00any bytes\xff"),
        attributes: attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ordering_key: "customer-1".into(),
        ..Message::default()
    }
}

async fn a_published_result_has_its_attributes_and_ordering_key(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("results")).await;
    let input = input(&[
        ("idempotency-key", "order 1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("ce-id", "the input's own"),
        ("ce-subject", "the input's own"),
    ]);
    let result = TaskResult::new("embed", "my-service", &input, r#"{"data":[0.5]}"#.into());
    sinks(&["response", &topic], &clients(pubsub.host(), "")).deliver(&result).await.unwrap();

    let received = pubsub.pull_one(&subscription).await;
    assert_eq!(received.data, r#"{"data":[0.5]}"#);
    assert_eq!(received.ordering_key, "customer-1");
    let attributes: Vec<_> = received.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected = [
        ("ce-id", "order 1"),
        ("ce-source", "//ai.workloads/services/my-service"),
        ("ce-specversion", "1.0"),
        ("ce-time", &result.time),
        ("ce-type", "ai.workloads.embed.completed.v1"),
        ("content-type", "application/json"),
        ("idempotency-key", "order 1"),
        ("source-message-id", "17"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    assert_eq!(attributes, expected);
}

async fn results_of_one_ordering_key_keep_their_order(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("ordered")).await;
    let sinks = sinks(&[&topic], &clients(pubsub.host(), ""));
    let input = input(&[]);
    for n in 0..20 {
        let result = TaskResult::new("embed", "service", &input, n.to_string().into());
        sinks.deliver(&result).await.unwrap();
    }
    let received = pubsub.pull(&subscription, 20, Duration::from_secs(10)).await;
    let order: Vec<i64> = received.iter().map(|message| message.json().as_i64().unwrap()).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

async fn the_largest_message_goes_through_and_one_more_byte_is_refused(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("large")).await;
    let sinks = sinks(&[&topic], &clients(pubsub.host(), ""));
    let input = Message::default();
    let body = Bytes::from(vec![b'1'; 10_000_000]);
    let result = TaskResult::new("embed", "service", &input, body.clone());
    sinks.deliver(&result).await.unwrap();
    assert_eq!(pubsub.pull_one(&subscription).await.data.len(), body.len());

    let body = Bytes::from(vec![b'1'; 10_000_001]);
    let result = TaskResult::new("embed", "service", &input, body);
    let error = sinks.deliver(&result).await.unwrap_err();
    assert!(matches!(error, SinkError::Permanent { reason: "result-too-large", .. }), "{error}");
}

async fn a_missing_topic_is_a_passing_fault_that_names_it(pubsub: &PubSub) {
    let id = unique("late");
    let topic = pubsub.topic_name(&id);
    let sinks = sinks(&[&topic], &clients(pubsub.host(), ""));
    let input = input(&[]);
    let result = TaskResult::new("embed", "service", &input, "{}".into());
    let error = sinks.deliver(&result).await.unwrap_err();
    assert!(matches!(error, SinkError::Passing { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&topic) && text.contains("create it"), "{text}");

    // The same sinks, the same ordering key: it goes through as soon as the topic is there.
    let (_, subscription) = pubsub.create_topic_and_subscription(&id).await;
    sinks.deliver(&result).await.unwrap();
    assert_eq!(pubsub.pull_one(&subscription).await.data, "{}");
}

#[tokio::test]
async fn no_service_at_all_is_a_passing_fault_within_the_deadline() {
    let unreachable = format!("127.0.0.1:{}", free_port());
    let emulator = Some(unreachable);
    let cloud = Cloud { project: None, pubsub_emulator: emulator.clone(), storage_emulator: emulator };
    let clients = Arc::new(Clients::with_deadline(cloud, Duration::from_millis(300)));
    let input = input(&[]);
    let result = TaskResult::new("embed", "service", &input, "{}".into());
    for destination in ["projects/some-project/topics/results", "gs://some-bucket/"] {
        let error = sinks(&[destination], &clients).deliver(&result).await.unwrap_err();
        assert!(matches!(error, SinkError::Passing { .. }), "{error}");
        assert!(error.to_string().contains(destination), "{error}");
    }
    let dead_letter = DeadLetter::new("projects/some-project/topics/dead", &clients).unwrap();
    let error = dead_letter.publish(&input, "r", "d", "s").await.unwrap_err();
    assert!(matches!(error, SinkError::Passing { .. }), "{error}");
}

#[tokio::test]
async fn a_restarted_local_service_is_found_again() {
    restart(|host| Some(Bus::start_at(host, Limits::default()))).await;
}

#[tokio::test]
async fn a_restarted_emulator_is_found_again() {
    restart(Emulator::start_at).await;
}

async fn restart<P: Deref<Target = PubSub>>(start_at: impl Fn(&str) -> Option<P>) {
    let Some(first) = start_at(&format!("127.0.0.1:{}", free_port())) else {
        return;
    };
    let id = unique("again");
    let topic = first.create_topic(&id).await;
    let host = first.host().to_owned();
    let sinks = sinks(&[&topic], &clients(&host, ""));
    let input = input(&[]);
    let result = TaskResult::new("embed", "service", &input, "{}".into());
    sinks.deliver(&result).await.unwrap();
    drop(first);
    let Some(second) = start_at(&host) else {
        return;
    };
    let (_, subscription) = second.create_topic_and_subscription(&id).await;
    sinks.deliver(&result).await.unwrap();
    assert_eq!(second.pull_one(&subscription).await.data, "{}");
}

#[tokio::test]
async fn a_result_in_a_bucket_is_written_once() {
    let Some(storage) = Storage::shared() else {
        return;
    };
    let bucket = unique("results");
    storage.create_bucket(&bucket).await;
    let sinks = sinks(&[&format!("gs://{bucket}/out/")], &clients("", storage.host()));
    let input = input(&[("idempotency-key", "a/b 1")]);
    let first = TaskResult::new("embed", "service", &input, r#"{"n":1}"#.into());
    sinks.deliver(&first).await.unwrap();
    let duplicate = TaskResult::new("embed", "service", &input, r#"{"n":2}"#.into());
    sinks.deliver(&duplicate).await.unwrap();
    assert_eq!(storage.list(&bucket, "").await, ["out/embed/a%2Fb%201.json"]);
    let written = storage.read(&bucket, "out/embed/a%2Fb%201.json").await;
    assert_eq!(written.unwrap(), r#"{"n":1}"#);
}

#[tokio::test]
async fn a_missing_bucket_is_a_passing_fault() {
    let Some(storage) = Storage::shared() else {
        return;
    };
    let destination = format!("gs://{}/", unique("nowhere"));
    let input = input(&[]);
    let result = TaskResult::new("embed", "service", &input, "{}".into());
    let sinks = sinks(&[&destination], &clients("", storage.host()));
    let error = sinks.deliver(&result).await.unwrap_err();
    assert!(matches!(error, SinkError::Passing { .. }), "{error}");
    assert!(error.to_string().contains(&destination), "{error}");
}

async fn one_failing_destination_does_not_keep_the_result_from_the_others(pubsub: &PubSub) {
    let Some(storage) = Storage::shared() else {
        return;
    };
    let bucket = unique("others");
    storage.create_bucket(&bucket).await;
    let missing = pubsub.topic_name(&unique("missing"));
    let clients = clients(pubsub.host(), storage.host());
    let sinks = sinks(&[&missing, &format!("gs://{bucket}/")], &clients);
    let input = input(&[("idempotency-key", "k")]);
    let result = TaskResult::new("embed", "service", &input, "{}".into());
    let error = sinks.deliver(&result).await.unwrap_err();
    assert!(matches!(error, SinkError::Passing { .. }), "{error}");
    assert_eq!(storage.list(&bucket, "").await, ["embed/k.json"]);
}

async fn a_dead_letter_is_the_original_and_why(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("dead")).await;
    let original = input(&[("task", "embed"), ("ce-id", "kept"), ("traceparent", "kept")]);
    let clients = clients(pubsub.host(), "");
    let dead_letter = DeadLetter::new(&topic, &clients).unwrap();
    let detail = "é".repeat(2000);
    dead_letter.publish(&original, "bad-payload", &detail, "my-service").await.unwrap();

    let received = pubsub.pull_one(&subscription).await;
    assert_eq!(received.data, original.data);
    assert_eq!(received.ordering_key, original.ordering_key);
    assert!(original.attributes.iter().all(|(name, value)| received.attribute(name) == value));
    assert_eq!(received.attributes.len(), original.attributes.len() + 6);
    assert_eq!(received.attribute("dead-letter-reason"), "bad-payload");
    assert_eq!(received.attribute("dead-letter-detail"), "é".repeat(512));
    assert_eq!(received.attribute("dead-letter-service"), "my-service");
    assert_eq!(received.attribute("dead-letter-source-topic"), "projects/p/topics/t");
    assert_eq!(received.attribute("dead-letter-source-message-id"), "17");
    assert!(received.attribute("dead-letter-time").ends_with('Z'));
}

#[test]
fn flush_ends_with_everything_answered_for_by_the_local_pubsub() {
    flush(Bus::shared());
}

#[test]
fn flush_ends_with_everything_answered_for_by_the_emulator() {
    if let Some(emulator) = Emulator::shared() {
        flush(emulator);
    }
}

fn flush(pubsub: &PubSub) {
    let id = unique("flush");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (topic, subscription) = runtime().block_on(pubsub.create_topic_and_subscription(&id));
    runtime().block_on(async {
        let sinks = Arc::new(sinks(&[&topic], &clients(pubsub.host(), "")));
        let deliver = |sinks: Arc<Sinks>| async move {
            let input = Message::default();
            let result = TaskResult::new("embed", "service", &input, "{}".into());
            sinks.deliver(&result).await
        };
        deliver(Arc::clone(&sinks)).await.unwrap();
        let callers: Vec<_> = (0..50).map(|_| tokio::spawn(deliver(Arc::clone(&sinks)))).collect();
        // Each caller runs until it waits for an answer, and then goes away.
        tokio::task::yield_now().await;
        callers.iter().for_each(|caller| caller.abort());
        sinks.flush().await;
    });
    // The runtime is gone, and with it all results in flight.
    let pull = pubsub.pull(&subscription, 51, Duration::from_secs(10));
    assert_eq!(runtime().block_on(pull).len(), 51);
}
