//! What Go's client (`cloud.google.com/go/pubsub/v2`) and Java's (`google-cloud-pubsub`) send over gRPC, request by
//! request. Both open streams of protocol version 1, send empty requests on them as keep-alives, and acknowledge by
//! unary calls.

use std::time::Duration;

use futures_util::StreamExt;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::publisher_client::PublisherClient;
use pb::subscriber_client::SubscriberClient;
use serde_json::json;
use tests::{Bus, PubSub, unique};
use tokio::sync::mpsc;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

on_every_pubsub!(
    receipts_refusals_and_acknowledgements_are_unary,
    thousands_are_acknowledged_at_once,
    a_closed_stream_is_opened_anew,
    a_compressed_publish_is_read,
);

/// The most messages of a publish, and the ids of an acknowledgement as Java's client sends it.
const BATCH: usize = 1000;
/// The ids of an acknowledgement as Go's client sends it.
const GO_BATCH: usize = 2500;
const TIMEOUT: Duration = Duration::from_secs(30);

async fn channel(pubsub: &PubSub) -> Channel {
    endpoint(pubsub).connect().await.unwrap()
}

fn endpoint(pubsub: &PubSub) -> Endpoint {
    Endpoint::from_shared(format!("http://{}", pubsub.host())).unwrap()
}

/// Messages as a tracing client sends them.
fn messages(count: usize) -> Vec<pb::PubsubMessage> {
    let context = [
        ("googclient_traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("googclient_tracestate", "vendor=1"),
    ];
    let attributes = context.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let message = |n: usize| pb::PubsubMessage {
        data: n.to_string().into(),
        attributes: attributes.clone().into(),
        ..pb::PubsubMessage::default()
    };
    (0..count).map(message).collect()
}

async fn publish(pubsub: &PubSub, topic: &str, count: usize) {
    let mut publisher = PublisherClient::new(channel(pubsub).await);
    let request = pb::PublishRequest { topic: topic.to_owned(), messages: messages(count) };
    let ids = publisher.publish(request).await.unwrap().into_inner().message_ids;
    assert_eq!(ids.len(), count);
}

/// One stream of a subscriber: its requests and the responses.
struct Pull {
    subscriber: SubscriberClient<Channel>,
    subscription: String,
    requests: mpsc::UnboundedSender<pb::StreamingPullRequest>,
    responses: mpsc::UnboundedReceiver<Result<pb::StreamingPullResponse, Status>>,
}

impl Pull {
    /// Opens a stream; Java's client sends the first keep-alive with it, Go's after 30 s.
    fn open(channel: Channel, subscription: &str, keep_alive_at_once: bool) -> Self {
        let subscriber = SubscriberClient::new(channel).max_decoding_message_size(20 << 20);
        let (requests, mut queue) = mpsc::unbounded_channel();
        let (responder, responses) = mpsc::unbounded_channel();
        let first = pb::StreamingPullRequest {
            subscription: subscription.to_owned(),
            client_id: "2b1b4bd8-4a8c-4be2-a1b5-6d9cf8d8a1a3".into(),
            stream_ack_deadline_seconds: 60,
            max_outstanding_messages: 10_000,
            max_outstanding_bytes: 1 << 30,
            protocol_version: 1,
            ..pb::StreamingPullRequest::default()
        };
        requests.send(first).unwrap();
        if keep_alive_at_once {
            requests.send(pb::StreamingPullRequest::default()).unwrap();
        }
        let mut request = Request::new(futures_util::stream::poll_fn(move |context| queue.poll_recv(context)));
        let params = format!("subscription={}", subscription.replace('/', "%2F"));
        request.metadata_mut().insert("x-goog-request-params", params.parse().unwrap());
        let mut opened = subscriber.clone();
        // The emulator answers the opening of a stream with the first message.
        tokio::spawn(async move {
            match opened.streaming_pull(request).await {
                Ok(stream) => {
                    let mut stream = stream.into_inner();
                    while let Some(response) = stream.next().await {
                        // An error says that the test has dropped the stream.
                        let _ = responder.send(response);
                    }
                }
                Err(status) => {
                    let _ = responder.send(Err(status));
                }
            }
        });
        Self { subscriber, subscription: subscription.to_owned(), requests, responses }
    }

    async fn next(&mut self) -> Result<pb::StreamingPullResponse, Status> {
        let next = tokio::time::timeout(TIMEOUT, self.responses.recv()).await.expect("nothing came");
        next.unwrap_or_else(|| Err(Status::unavailable("the stream has ended")))
    }

    /// Waits for this number of messages, whatever other responses come between them.
    async fn take(&mut self, count: usize) -> Vec<pb::ReceivedMessage> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.extend(self.next().await.unwrap().received_messages);
        }
        assert_eq!(taken.len(), count);
        taken
    }

    async fn acknowledge(&mut self, messages: &[pb::ReceivedMessage]) -> Result<(), Status> {
        let request = pb::AcknowledgeRequest { subscription: self.subscription.clone(), ack_ids: ids(messages) };
        self.subscriber.acknowledge(request).await.map(drop)
    }

    async fn modify(&mut self, messages: &[pb::ReceivedMessage], seconds: i32) -> Result<(), Status> {
        let request = pb::ModifyAckDeadlineRequest {
            subscription: self.subscription.clone(),
            ack_ids: ids(messages),
            ack_deadline_seconds: seconds,
        };
        self.subscriber.modify_ack_deadline(request).await.map(drop)
    }

    /// The messages that other subscribers can still get.
    async fn left(&mut self) -> usize {
        #[allow(deprecated, reason = "clients still send it")]
        let request =
            pb::PullRequest { subscription: self.subscription.clone(), return_immediately: true, max_messages: 1000 };
        self.subscriber.pull(request).await.unwrap().into_inner().received_messages.len()
    }
}

fn ids(messages: &[pb::ReceivedMessage]) -> Vec<String> {
    messages.iter().map(|message| message.ack_id.clone()).collect()
}

fn data(messages: &[pb::ReceivedMessage]) -> Vec<usize> {
    let number = |message: &pb::ReceivedMessage| {
        std::str::from_utf8(&message.message.as_ref().unwrap().data).unwrap().parse().unwrap()
    };
    let mut data: Vec<usize> = messages.iter().map(number).collect();
    data.sort_unstable();
    data
}

async fn receipts_refusals_and_acknowledgements_are_unary(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("wire")).await;
    let mut pull = Pull::open(channel(pubsub).await, &subscription, false);
    publish(pubsub, &topic, 10).await;
    let taken = pull.take(10).await;
    assert_eq!(data(&taken), (0..10).collect::<Vec<_>>());
    for message in &taken {
        assert_eq!(message.message.as_ref().unwrap().attributes, messages(1)[0].attributes);
    }
    // The receipt, then a longer lease.
    pull.modify(&taken, 10).await.unwrap();
    pull.modify(&taken, 600).await.unwrap();
    let (refused, done) = taken.split_at(3);
    pull.modify(refused, 0).await.unwrap();
    pull.acknowledge(done).await.unwrap();
    let again = pull.take(3).await;
    assert_eq!(data(&again), data(refused));
    pull.acknowledge(&again).await.unwrap();
    assert_eq!(pull.left().await, 0);
}

async fn thousands_are_acknowledged_at_once(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("wire")).await;
    for _ in 0..4 {
        publish(pubsub, &topic, BATCH).await;
    }
    let mut pull = Pull::open(channel(pubsub).await, &subscription, false);
    let taken = pull.take(4 * BATCH).await;
    let (go, java) = taken.split_at(GO_BATCH);
    pull.modify(go, 60).await.unwrap();
    pull.acknowledge(go).await.unwrap();
    for batch in java.chunks(BATCH) {
        pull.modify(batch, 60).await.unwrap();
        pull.acknowledge(batch).await.unwrap();
    }
    assert_eq!(pull.left().await, 0);
}

async fn a_closed_stream_is_opened_anew(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("wire")).await;
    let channel = channel(pubsub).await;
    let mut pull = Pull::open(channel.clone(), &subscription, false);
    publish(pubsub, &topic, 1).await;
    let held = pull.take(1).await;
    // Go's client closes its side, and reads on until the stream ends.
    let Pull { requests, mut responses, .. } = pull;
    drop(requests);
    let ended = tokio::time::timeout(TIMEOUT, async { while let Some(Ok(_)) = responses.recv().await {} }).await;
    ended.expect("the stream goes on after its client closed it");
    let mut pull = Pull::open(channel, &subscription, false);
    publish(pubsub, &topic, 2).await;
    let taken = pull.take(2).await;
    // What came on the first stream is settled all the same.
    pull.acknowledge(&held).await.unwrap();
    pull.acknowledge(&taken).await.unwrap();
    assert_eq!(pull.left().await, 0);
}

async fn a_compressed_publish_is_read(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("wire")).await;
    let mut publisher = PublisherClient::new(channel(pubsub).await).send_compressed(CompressionEncoding::Gzip);
    publisher.publish(pb::PublishRequest { topic, messages: messages(100) }).await.unwrap();
    let received = pubsub.pull(&subscription, 100, TIMEOUT).await;
    assert_eq!(received.len(), 100);
    assert_eq!(received[0].attribute("googclient_tracestate"), "vendor=1");
}

#[tokio::test]
async fn what_a_compressed_publish_becomes_is_bounded() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("wire")).await;
    let mut publisher = PublisherClient::new(channel(bus).await).send_compressed(CompressionEncoding::Gzip);
    let message = pb::PubsubMessage { data: vec![0; 64 << 20].into(), ..pb::PubsubMessage::default() };
    let refused = publisher.publish(pb::PublishRequest { topic, messages: vec![message] }).await.unwrap_err();
    assert!([Code::OutOfRange, Code::ResourceExhausted].contains(&refused.code()), "{refused:?}");
}

/// Both clients end a stream on which a keep-alive gets no response.
#[tokio::test]
async fn each_keep_alive_is_answered_with_what_the_subscription_is() {
    let bus = Bus::shared();
    for (exactly_once, ordered) in [(false, false), (true, true)] {
        let topic = bus.create_topic(&unique("wire")).await;
        let fields = json!({"enableExactlyOnceDelivery": exactly_once, "enableMessageOrdering": ordered});
        let subscription = bus.create_subscription(&unique("wire"), &topic, fields).await;
        for keep_alive_at_once in [false, true] {
            // The connection is kept alive too, far more often than clients do.
            let interval = Duration::from_millis(20);
            let endpoint = endpoint(bus).http2_keep_alive_interval(interval).keep_alive_while_idle(true);
            let mut pull = Pull::open(endpoint.connect().await.unwrap(), &subscription, keep_alive_at_once);
            let mut expected = usize::from(keep_alive_at_once);
            for seconds in [0, 0, 60] {
                // Go's client changes the deadline with a keep-alive when it finds that delivery is exactly once.
                let stream_ack_deadline_seconds = seconds;
                let request =
                    pb::StreamingPullRequest { stream_ack_deadline_seconds, ..pb::StreamingPullRequest::default() };
                pull.requests.send(request).unwrap();
                expected += 1;
                while expected > 0 {
                    let response = pull.next().await.unwrap();
                    let properties = response.subscription_properties.expect("properties of the subscription");
                    assert_eq!(properties.exactly_once_delivery_enabled, exactly_once);
                    assert_eq!(properties.message_ordering_enabled, ordered);
                    assert!(response.received_messages.is_empty());
                    expected -= 1;
                }
            }
            publish(bus, &topic, 1).await;
            let taken = pull.take(1).await;
            pull.modify(&taken, 60).await.unwrap();
            pull.acknowledge(&taken).await.unwrap();
            assert_eq!(bus.handle().backlog(&subscription), Some(0));
        }
    }
}

/// The clients read which acknowledgement failed, and whether for good, from the details of the error.
#[tokio::test]
async fn an_acknowledgement_that_comes_too_late_is_named() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("wire")).await;
    let fields = json!({"enableExactlyOnceDelivery": true});
    let subscription = bus.create_subscription(&unique("wire"), &topic, fields).await;
    publish(bus, &topic, 2).await;
    let mut pull = Pull::open(channel(bus).await, &subscription, false);
    let taken = pull.take(2).await;
    pull.modify(&taken, 60).await.unwrap();
    pull.acknowledge(&taken[..1]).await.unwrap();
    for late in [pull.acknowledge(&taken).await, pull.modify(&taken[..1], 60).await] {
        let late = late.unwrap_err();
        let details = String::from_utf8_lossy(late.details()).into_owned();
        assert_eq!(late.code(), Code::FailedPrecondition, "{late}");
        assert!(
            details.contains("PERMANENT_FAILURE_INVALID_ACK_ID") && details.contains(&taken[0].ack_id),
            "{details}"
        );
        assert!(!details.contains(&taken[1].ack_id), "{details}");
    }
    assert_eq!(bus.handle().backlog(&subscription), Some(0));
}
