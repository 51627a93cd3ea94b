//! Streaming pull over raw gRPC: what a client may send after its first request, and the response to it.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::subscriber_client::SubscriberClient;
use serde_json::json;
use tests::{Bus, unique};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::channel;

type Stream = (mpsc::UnboundedSender<pb::StreamingPullRequest>, Streaming<pb::StreamingPullResponse>);

/// A stream that was opened with this request.
async fn open(bus: &Bus, first: pb::StreamingPullRequest) -> Stream {
    let mut client = SubscriberClient::new(channel(bus).await);
    let (requests, mut sent) = mpsc::unbounded_channel();
    requests.send(first).unwrap();
    let sent = futures_util::stream::poll_fn(move |context| sent.poll_recv(context));
    (requests, client.streaming_pull(sent).await.unwrap().into_inner())
}

fn first(subscription: &str) -> pb::StreamingPullRequest {
    pb::StreamingPullRequest {
        subscription: subscription.into(),
        stream_ack_deadline_seconds: 60,
        client_id: "client".into(),
        max_outstanding_messages: 10,
        max_outstanding_bytes: 1 << 20,
        protocol_version: 1,
        ..Default::default()
    }
}

/// The status with which the local Pub/Sub ends a stream after its second request.
async fn refusal(bus: &Bus, subscription: &str, later: pb::StreamingPullRequest) -> Status {
    let (requests, mut responses) = open(bus, first(subscription)).await;
    requests.send(later).unwrap();
    loop {
        if let Err(status) = responses.message().await.map(|response| response.expect("an end with a status")) {
            return status;
        }
    }
}

#[tokio::test]
async fn each_keep_alive_is_answered_with_the_properties_of_the_subscription() {
    let bus = Bus::shared();
    for (ordering, exactly_once) in [(false, false), (true, false), (false, true), (true, true)] {
        let id = unique("keep-alive");
        let topic = bus.create_topic(&id).await;
        let fields = json!({"enableMessageOrdering": ordering, "enableExactlyOnceDelivery": exactly_once});
        let subscription = bus.create_subscription(&id, &topic, fields).await;
        let (requests, mut responses) = open(bus, first(&subscription)).await;
        // A new deadline alone is a keep-alive too: the Python client sends its own so.
        let deadline = pb::StreamingPullRequest { stream_ack_deadline_seconds: 30, ..Default::default() };
        for later in [pb::StreamingPullRequest::default(), deadline, pb::StreamingPullRequest::default()] {
            requests.send(later).unwrap();
            let answer = responses.message().await.unwrap().unwrap();
            let properties = answer.subscription_properties.unwrap();
            assert!(answer.received_messages.is_empty());
            assert_eq!(properties.message_ordering_enabled, ordering);
            assert_eq!(properties.exactly_once_delivery_enabled, exactly_once);
        }
        // Messages still come, and are acknowledged, on the same stream.
        bus.publish(&topic, b"message", &[]).await;
        let answer = responses.message().await.unwrap().unwrap();
        let ack_ids = vec![answer.received_messages[0].ack_id.clone()];
        requests.send(pb::StreamingPullRequest { ack_ids, ..Default::default() }).unwrap();
        while bus.handle().backlog(&subscription) != Some(0) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_later_request_may_not_set_what_the_first_sets() {
    let bus = Bus::shared();
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("later")).await;
    let none = pb::StreamingPullRequest::default;
    for (field, later) in [
        ("subscription", pb::StreamingPullRequest { subscription: subscription.clone(), ..none() }),
        ("client_id", pb::StreamingPullRequest { client_id: "client".into(), ..none() }),
        ("max_outstanding_messages", pb::StreamingPullRequest { max_outstanding_messages: 10, ..none() }),
        ("max_outstanding_bytes", pb::StreamingPullRequest { max_outstanding_bytes: -1, ..none() }),
        ("protocol_version", pb::StreamingPullRequest { protocol_version: 1, ..none() }),
    ] {
        let status = refusal(bus, &subscription, later).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        assert!(status.message().contains(field), "{status:?}");
    }
    for (words, later) in [
        ("stream_ack_deadline_seconds", pb::StreamingPullRequest { stream_ack_deadline_seconds: 9, ..none() }),
        ("stream_ack_deadline_seconds", pb::StreamingPullRequest { stream_ack_deadline_seconds: 601, ..none() }),
        ("same length", pb::StreamingPullRequest { modify_deadline_seconds: vec![10], ..none() }),
        ("same length", pb::StreamingPullRequest { modify_deadline_ack_ids: vec!["1-1-1".into()], ..none() }),
        (
            "ack_deadline_seconds",
            pb::StreamingPullRequest {
                modify_deadline_ack_ids: vec!["1-1-1".into()],
                modify_deadline_seconds: vec![-1],
                ..none()
            },
        ),
        ("ack_id=x", pb::StreamingPullRequest { ack_ids: vec!["x".into()], ..none() }),
    ] {
        let status = refusal(bus, &subscription, later).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{words}: {status:?}");
        assert!(status.message().contains(words), "{status:?}");
    }

    // A request that is refused acknowledges nothing.
    bus.publish(&topic, b"message", &[]).await;
    let (requests, mut responses) = open(bus, first(&subscription)).await;
    let received = responses.message().await.unwrap().unwrap().received_messages;
    let ack_ids = vec![received[0].ack_id.clone()];
    requests.send(pb::StreamingPullRequest { ack_ids, protocol_version: 1, ..none() }).unwrap();
    assert_eq!(responses.message().await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(bus.handle().backlog(&subscription), Some(1));
}

#[tokio::test]
async fn the_clients_trace_attributes_are_taken_and_no_other_reserved_name() {
    let bus = Bus::shared();
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("trace")).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let attributes = [("googclient_traceparent", trace), ("googclient_tracestate", "a=b"), ("kind", "x")];
    bus.publish(&topic, b"traced", &attributes).await;
    let received = bus.pull_one(&subscription).await;
    assert_eq!(attributes.map(|(name, _)| received.attribute(name)), attributes.map(|(_, value)| value));

    let mut client = pb::publisher_client::PublisherClient::new(channel(bus).await);
    for name in ["goog", "googclient_schemaname", "googclient_schemaencoding", "googclient_traceparent2", "google"] {
        let attributes = [(name.to_owned(), "v".to_owned())].into();
        let message = pb::PubsubMessage { attributes, ..Default::default() };
        let publish = pb::PublishRequest { topic: topic.clone(), messages: vec![message] };
        let status = client.publish(publish).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}");
        assert!(status.message().contains(name), "{status:?}");
    }
}
