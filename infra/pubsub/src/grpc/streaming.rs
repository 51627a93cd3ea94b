//! StreamingPull: messages to the client, acknowledgements and deadlines from it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::Stream;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::streaming_pull_response::{AcknowledgeConfirmation, ModifyAckDeadlineConfirmation, SubscriptionProperties};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use crate::api::{MAX_PULL_BYTES, MAX_PULL_MESSAGES, lease};
use crate::error::{invalid, out_of_bounds};
use crate::queue::PullRequest;
use crate::shared::Shared;
use crate::state::AckId;

/// The most bytes of a request: a publish of 10 MB, with something to spare.
pub(super) const MAX_REQUEST_BYTES: usize = 16 << 20;
/// How long a stream is silent before the server sends a keep-alive by itself. Clients end a stream that is silent for
/// 15 s after a keep-alive of theirs.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// From this protocol version on, a client takes keep-alives: responses without messages.
const KEEP_ALIVE_VERSION: i64 = 1;

type ResponseItem = Result<pb::StreamingPullResponse, Status>;

pub(super) async fn serve(shared: &Arc<Shared>, request: Request) -> Response {
    let codec = ProstCodec::<pb::StreamingPullResponse, pb::StreamingPullRequest>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_REQUEST_BYTES);
    grpc.streaming(Service(Arc::clone(shared)), request).await.map(Body::new)
}

struct Service(Arc<Shared>);

impl StreamingService<pb::StreamingPullRequest> for Service {
    type Response = pb::StreamingPullResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = ResponseItem> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<pb::StreamingPullRequest>>) -> Self::Future {
        // Two responses: one is written to the connection while the next is prepared.
        let (sender, mut receiver) = mpsc::channel(2);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            if let Err(status) = pull(&shared, request.into_inner(), &sender).await {
                // An error says that the client is gone.
                let _ = sender.send(Err(status)).await;
            }
        });
        let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        ready(Ok(tonic::Response::new(Box::pin(stream))))
    }
}

/// One client's stream.
struct Subscriber<'a> {
    shared: &'a Shared,
    out: &'a mpsc::Sender<ResponseItem>,
    subscription: String,
    id: u64,
    /// The stream's acknowledgement deadline, in seconds.
    ack_deadline: i32,
    max_messages: usize,
    max_bytes: usize,
    /// The client understands keep-alives.
    keep_alive: bool,
    last_response: Instant,
}

async fn pull(
    shared: &Shared,
    mut requests: Streaming<pb::StreamingPullRequest>,
    out: &mpsc::Sender<ResponseItem>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else { return Ok(()) };
    let bound = |most: i64| usize::try_from(most).ok().filter(|&most| most > 0).unwrap_or(usize::MAX);
    let mut subscriber = Subscriber {
        shared,
        out,
        subscription: first.subscription.clone(),
        id: shared.new_subscriber_id(),
        ack_deadline: 0,
        max_messages: bound(first.max_outstanding_messages),
        max_bytes: bound(first.max_outstanding_bytes),
        keep_alive: first.protocol_version >= KEEP_ALIVE_VERSION,
        last_response: Instant::now(),
    };
    let wake = shared.with_state(|state, _| state.wake(&subscriber.subscription))?;
    check_deadline(first.stream_ack_deadline_seconds)?;
    check(&first)?;
    subscriber.handle(first).await?;
    loop {
        let woken = wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        if subscriber.send().await? {
            // There may be more to send, but a request that has arrived comes first.
            tokio::select! {
                biased;
                request = requests.message() => match request? {
                    Some(request) => subscriber.handle_later(request).await?,
                    None => return Ok(()),
                },
                () = out.closed() => return Ok(()),
                () = std::future::ready(()) => {}
            }
            continue;
        }
        tokio::select! {
            request = requests.message() => match request? {
                Some(request) => subscriber.handle_later(request).await?,
                None => return Ok(()),
            },
            () = woken => {}
            () = tokio::time::sleep_until(subscriber.last_response + KEEP_ALIVE_INTERVAL), if subscriber.keep_alive => {
                subscriber.send_keep_alive().await?;
            }
            () = out.closed() => return Ok(()),
            () = shared.shutdown_started() => return Err(Status::unavailable("The local Pub/Sub is shutting down.")),
        }
    }
}

fn check_deadline(seconds: i32) -> Result<(), Status> {
    if (10..=600).contains(&seconds) {
        return Ok(());
    }
    Err(out_of_bounds("stream_ack_deadline_seconds", seconds, "10 to 600"))
}

/// Checks a whole request before anything is done, so that a refused request has no effect.
fn check(request: &pb::StreamingPullRequest) -> Result<(), Status> {
    if request.stream_ack_deadline_seconds != 0 {
        check_deadline(request.stream_ack_deadline_seconds)?;
    }
    let (ids, seconds) = (&request.modify_deadline_ack_ids, &request.modify_deadline_seconds);
    if ids.len() != seconds.len() {
        return Err(invalid(format!(
            "modify_deadline_seconds and modify_deadline_ack_ids must be of the same length; found {} and {}.",
            seconds.len(),
            ids.len()
        )));
    }
    seconds.iter().try_for_each(|&seconds| lease(seconds).map(drop))?;
    request.ack_ids.iter().chain(ids).try_for_each(|id| AckId::parse(id).map(drop))
}

/// Checks a request after the first: there are fields that the first alone may set.
fn check_later(request: &pb::StreamingPullRequest) -> Result<(), Status> {
    let set = [
        ("subscription", !request.subscription.is_empty()),
        ("client_id", !request.client_id.is_empty()),
        ("max_outstanding_messages", request.max_outstanding_messages != 0),
        ("max_outstanding_bytes", request.max_outstanding_bytes != 0),
        ("protocol_version", request.protocol_version != 0),
    ];
    match set.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(invalid(format!(
            "Invalid StreamingPullRequest: {field} can only be set on the first request of a stream."
        ))),
        None => check(request),
    }
}

impl Subscriber<'_> {
    async fn handle_later(&mut self, request: pb::StreamingPullRequest) -> Result<(), Status> {
        check_later(&request)?;
        let is_keep_alive = request.ack_ids.is_empty() && request.modify_deadline_ack_ids.is_empty();
        self.handle(request).await?;
        if is_keep_alive && self.keep_alive {
            self.send_keep_alive().await?;
        }
        Ok(())
    }

    /// Does what a checked request asks for, and confirms it if delivery is exactly once.
    async fn handle(&mut self, request: pb::StreamingPullRequest) -> Result<(), Status> {
        if request.stream_ack_deadline_seconds != 0 {
            self.ack_deadline = request.stream_ack_deadline_seconds;
        }
        let mut confirmation = pb::StreamingPullResponse::default();
        if !request.ack_ids.is_empty() {
            let outcome =
                self.shared.with_state(|state, now| state.acknowledge(now, &self.subscription, request.ack_ids))?;
            confirmation.acknowledge_confirmation = Some(AcknowledgeConfirmation {
                ack_ids: outcome.accepted,
                invalid_ack_ids: outcome.stale,
                ..AcknowledgeConfirmation::default()
            });
        }
        let mut by_seconds: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for (id, &seconds) in request.modify_deadline_ack_ids.into_iter().zip(&request.modify_deadline_seconds) {
            by_seconds.entry(seconds).or_default().push(id);
        }
        for (seconds, ids) in by_seconds {
            let lease = lease(seconds)?;
            let outcome =
                self.shared.with_state(|state, now| state.modify_ack_deadline(now, &self.subscription, ids, lease))?;
            let confirmed = confirmation
                .modify_ack_deadline_confirmation
                .get_or_insert_with(ModifyAckDeadlineConfirmation::default);
            confirmed.ack_ids.extend(outcome.accepted);
            confirmed.invalid_ack_ids.extend(outcome.stale);
        }
        let confirms =
            confirmation.acknowledge_confirmation.is_some() || confirmation.modify_ack_deadline_confirmation.is_some();
        if confirms {
            let settings = self.shared.with_state(|state, _| state.get_subscription(&self.subscription))?;
            if settings.enable_exactly_once_delivery {
                self.shared.update_durably(|_, _| Ok(())).await?;
                confirmation.subscription_properties = Some(properties(&settings));
                self.respond(confirmation).await;
            }
        }
        Ok(())
    }

    /// Sends a response without messages.
    async fn send_keep_alive(&mut self) -> Result<(), Status> {
        let settings = self.shared.with_state(|state, _| state.get_subscription(&self.subscription))?;
        let subscription_properties = Some(properties(&settings));
        self.respond(pb::StreamingPullResponse { subscription_properties, ..Default::default() }).await;
        Ok(())
    }

    /// Sends ready messages within the client's flow control; returns whether there were any.
    async fn send(&mut self) -> Result<bool, Status> {
        let lease = lease(self.ack_deadline)?;
        let taken = self.shared.with_state(|state, now| {
            let outstanding = state.outstanding(&self.subscription, self.id);
            let max_messages = self.max_messages.saturating_sub(outstanding.messages).min(MAX_PULL_MESSAGES);
            let max_bytes = self.max_bytes.saturating_sub(outstanding.bytes).min(MAX_PULL_BYTES);
            // A message larger than the client's bound is sent when the client holds no other.
            let max_messages = if max_bytes == 0 { 0 } else { max_messages };
            let (subscriber, lease) = (self.id, Some(lease));
            let pull = PullRequest { max_messages, max_bytes, subscriber, lease, many_per_key: true };
            state.pull(now, &self.subscription, pull)
        })?;
        if taken.deliveries.is_empty() {
            return Ok(false);
        }
        let response = pb::StreamingPullResponse {
            received_messages: taken.received(),
            subscription_properties: Some(properties(&taken.settings)),
            ..pb::StreamingPullResponse::default()
        };
        self.respond(response).await;
        Ok(true)
    }

    async fn respond(&mut self, response: pb::StreamingPullResponse) {
        // An error says that the client is gone, which the caller sees too.
        let _ = self.out.send(Ok(response)).await;
        self.last_response = Instant::now();
    }
}

fn properties(settings: &pb::Subscription) -> SubscriptionProperties {
    SubscriptionProperties {
        exactly_once_delivery_enabled: settings.enable_exactly_once_delivery,
        message_ordering_enabled: settings.enable_message_ordering,
    }
}
