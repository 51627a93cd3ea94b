//! Google's own clients against the local Pub/Sub and the emulator.

mod scripts;
mod wire;

use std::process::Output;
use std::time::Duration;

use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::{BasePublisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{DeadLetterPolicy, Message, Subscription};
use google_cloud_pubsub::subscriber::handler::Handler;
use serde_json::Value;
use tests::{LocalPubSub, gcloud, unique};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn gcloud_drives_it() {
    let bus = LocalPubSub::start();
    let Some(gcloud) = gcloud(&bus) else { return };
    let run = |line: &[&str]| -> Value {
        let output = gcloud(line);
        assert!(output.status.success(), "gcloud {}: {}", line.join(" "), text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    run(&["pubsub", "topics", "create", "tickets", "--labels=env=dev"]);
    let filter = "--message-filter=attributes.kind = \"ticket\"";
    run(&["pubsub", "subscriptions", "create", "filtered", "--topic=tickets", filter, "--ack-deadline=30"]);
    run(&["pubsub", "topics", "publish", "tickets", "--message=no", "--attribute=kind=other"]);
    run(&["pubsub", "topics", "publish", "tickets", "--message=yes", "--attribute=kind=ticket"]);
    let described = run(&["pubsub", "subscriptions", "describe", "filtered"]);
    assert_eq!((&described["ackDeadlineSeconds"], &described["state"]), (&30.into(), &"ACTIVE".into()));
    run(&["pubsub", "subscriptions", "update", "filtered", "--update-labels=a=b", "--ack-deadline=20"]);
    assert_eq!(run(&["pubsub", "subscriptions", "list"])[0]["labels"]["a"], "b");
    let pulled = run(&["pubsub", "subscriptions", "pull", "filtered", "--limit=10"]);
    assert_eq!((pulled.as_array().unwrap().len(), &pulled[0]["message"]["data"]), (1, &"eWVz".into()), "{pulled}");
    let id = pulled[0]["ackId"].as_str().unwrap();
    run(&["pubsub", "subscriptions", "ack", "filtered", &format!("--ack-ids={id}")]);
    assert_eq!(bus.handle().backlog(&bus.subscription_name("filtered")), Some(0));
}

#[tokio::test]
async fn the_official_rust_client_drives_it() {
    function::clients::use_ring();
    let bus = LocalPubSub::shared();
    let endpoint = format!("http://{}", bus.host());
    let anonymous = || anonymous::Builder::new().build();
    let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(anonymous()).build().await.unwrap();
    let admin =
        SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(anonymous()).build().await.unwrap();
    let id = unique("rust");
    let (topic, dead) = (bus.topic_name(&id), bus.topic_name(&format!("{id}-dead")));
    for topic in [&topic, &dead] {
        topics.create_topic().set_name(topic).send().await.unwrap();
    }
    let again = topics.create_topic().set_name(&topic).send().await.unwrap_err();
    assert!(again.to_string().contains("Resource already exists in the project"), "{again}");
    let name = bus.subscription_name(&id);
    let policy = DeadLetterPolicy::new().set_dead_letter_topic(&dead).set_max_delivery_attempts(7);
    admin.create_subscription().set_name(&name).set_topic(&topic).set_dead_letter_policy(policy).send().await.unwrap();
    let update = Subscription::new().set_name(&name).set_ack_deadline_seconds(60);
    let mask = google_cloud_wkt::FieldMask::default().set_paths(["ack_deadline_seconds"]);
    let updated = admin.update_subscription().set_subscription(update).set_update_mask(mask).send().await.unwrap();
    assert_eq!(updated.ack_deadline_seconds, 60);

    let publisher =
        BasePublisher::builder().with_endpoint(&endpoint).with_credentials(anonymous()).build().await.unwrap();
    let publisher = publisher.publisher(&topic).build();
    let sent: Vec<_> =
        (0..300).map(|n: usize| publisher.publish(Message::new().set_data(n.to_string().into_bytes()))).collect();
    for sent in sent {
        sent.await.unwrap();
    }
    let subscriber =
        Subscriber::builder().with_endpoint(&endpoint).with_credentials(anonymous()).build().await.unwrap();
    let mut stream = subscriber.subscribe(&name).set_max_outstanding_messages(20).build();
    let mut received = std::collections::BTreeSet::new();
    while received.len() < 300 {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap();
        let (message, handler) = next.unwrap().unwrap();
        let data: usize = std::str::from_utf8(&message.data).unwrap().parse().unwrap();
        let attempt = match &handler {
            Handler::AtLeastOnce(handler) => handler.delivery_attempt(),
            _ => None,
        };
        // The first delivery of each seventh message is refused.
        if data.is_multiple_of(7) && attempt == Some(1) {
            handler.nack();
            continue;
        }
        assert_eq!(attempt, Some(if data.is_multiple_of(7) { 2 } else { 1 }));
        handler.ack();
        assert!(received.insert(data), "{data} came twice");
    }
    while bus.handle().backlog(&name) != Some(0) {
        tokio::task::yield_now().await;
    }
}
