//! Streams over a paused clock: what a client would wait for.

use axum::body::Bytes;
use http_body_util::BodyExt;
use prost::Message as _;

use super::*;
use crate::Limits;

const TOPIC: &str = "projects/test-project/topics/topic";
const SUBSCRIPTION: &str = "projects/test-project/subscriptions/subscription";

/// A client's stream: its requests, and the body with the responses.
struct Client {
    requests: mpsc::UnboundedSender<Result<Bytes, std::io::Error>>,
    responses: Body,
}

impl Client {
    async fn open(protocol_version: i64) -> Self {
        let shared = Arc::new(Shared::new(Limits::default()));
        let topic = pb::Topic { name: TOPIC.into(), ..Default::default() };
        let subscription = pb::Subscription {
            name: SUBSCRIPTION.into(),
            topic: TOPIC.into(),
            enable_message_ordering: true,
            ..Default::default()
        };
        shared.with_state(|state, _| state.create_topic(topic)).unwrap();
        shared.with_state(|state, _| state.create_subscription(subscription)).unwrap();
        let (requests, mut body) = mpsc::unbounded_channel();
        let body = futures_util::stream::poll_fn(move |context| body.poll_recv(context));
        let responses = serve(&shared, Request::new(Body::from_stream(body))).await.into_body();
        let client = Self { requests, responses };
        client.send(&pb::StreamingPullRequest {
            subscription: SUBSCRIPTION.into(),
            stream_ack_deadline_seconds: 60,
            protocol_version,
            ..Default::default()
        });
        client
    }

    fn send(&self, request: &pb::StreamingPullRequest) {
        let message = request.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        self.requests.send(Ok(frame.into())).unwrap();
    }

    async fn next(&mut self) -> pb::StreamingPullResponse {
        let frame = self.responses.frame().await.unwrap().unwrap().into_data().unwrap();
        pb::StreamingPullResponse::decode(&frame[5..]).unwrap()
    }
}

fn keep_alive() -> pb::StreamingPullResponse {
    let properties = SubscriptionProperties { exactly_once_delivery_enabled: false, message_ordering_enabled: true };
    pb::StreamingPullResponse { subscription_properties: Some(properties), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_is_answered_at_once_and_a_silent_stream_gets_its_own() {
    let start = Instant::now();
    let mut client = Client::open(1).await;
    for _ in 0..3 {
        client.send(&pb::StreamingPullRequest::default());
        assert_eq!(client.next().await, keep_alive());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    for count in 1..=3 {
        assert_eq!(client.next().await, keep_alive());
        assert_eq!(start.elapsed().as_secs(), count * KEEP_ALIVE_INTERVAL.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_an_older_protocol_gets_no_keep_alive() {
    let mut client = Client::open(0).await;
    client.send(&pb::StreamingPullRequest::default());
    let silence = tokio::time::timeout(Duration::from_secs(3600), client.next()).await;
    assert!(silence.is_err(), "{silence:?}");
}
