//! The pull transport: messages of a pull subscription, handled like pushed ones.
//!
//! StreamingPull delivers messages. Each takes the same pipeline as a message that came over HTTP, and its
//! outcome is reported to Pub/Sub:
//!
//! | outcome | reported as |
//! |---|---|
//! | Done, or Rejected and published to the dead-letter topic | acknowledged |
//! | Retry, Overloaded, or Rejected without a dead-letter topic | not acknowledged (nack), after a delay |
//!
//! # Leases
//!
//! The client extends the leases of messages while they are in flight, by 15 s at a time. A process that is killed
//! therefore keeps its messages from other processes for at most that long.
//!
//! # Flow control
//!
//! At most 1,000 messages and 32 MiB are in flight, which keeps full batches waiting for the model. Where a pushed
//! message is refused by a full queue, a pulled one waits for room in it (`pipeline/queue_permits`).
//!
//! # Order
//!
//! Messages of one ordering key are handled one after the other, and fail together (`ordering`).
//!
//! # Streams
//!
//! A stream that ends is opened again after a backoff. At shutdown messages in flight have the drain time to end; the
//! others are redelivered.

mod ordering;

use std::sync::Arc;
use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{Subscriber, SubscriptionAdmin};
use google_cloud_pubsub::model;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::clients::Clients;
use crate::config::SHUTDOWN_TIMEOUT;
use crate::event::PUBSUB_TYPE;
use crate::pipeline::{Pipeline, QueuePermits, TraceContext, WhenFull};
use crate::{Message, Outcome};
use infra::error_chain;
use ordering::{OrderedDelivery, OrderingKeys};

/// Messages in flight: several batches of short ones.
const MAX_OUTSTANDING_MESSAGES: usize = 1000;
/// Bytes of messages in flight. Pub/Sub sends no more until some are settled; a single message may exceed it.
const MAX_OUTSTANDING_BYTES: i64 = 32 << 20;
/// The time by which the client extends leases, and so how long the messages of a killed process are kept from others.
const LEASE_EXTENSION: Duration = Duration::from_secs(15);
/// How long reading the subscription at the start may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// The backoff between the end of a stream and the next one. It doubles up to the longest.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(100);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(30);
/// A stream that lived this long was healthy, even if it brought no message.
const HEALTHY_STREAM_AGE: Duration = Duration::from_secs(10);
/// How long a message that failed is held before it is nacked, if its outcome does not say how long. A fault that
/// lasts must not use up the delivery attempts of every message as fast as the network allows.
const DEFAULT_NACK_DELAY: Duration = Duration::from_secs(1);
/// The longest that an outcome may have a message held.
const MAX_NACK_DELAY: Duration = Duration::from_secs(10);
/// How long Pub/Sub may take to confirm the last acknowledgements at shutdown.
const FINAL_ACK_TIMEOUT: Duration = Duration::from_millis(500);

/// The subscription to pull from.
#[derive(Clone, Debug)]
pub(crate) struct PullSubscription {
    /// `projects/P/subscriptions/S`
    pub(crate) name: String,
    /// `projects/P/topics/T`, where it could be read: the source of the messages. Otherwise the subscription is their
    /// source.
    pub(crate) topic: Option<String>,
}

/// A subscription that cannot be pulled from.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct PullError {
    pub(crate) subscription: String,
    why: String,
}

/// A subscription to pull from, with the client that does so.
pub(crate) struct Pull {
    subscription: PullSubscription,
    subscriber: Subscriber,
    queue_permits: QueuePermits,
}

impl Pull {
    /// Makes the client and reads the subscription. An account that may pull from it but not read it is no error, nor
    /// is a Pub/Sub that does not answer yet.
    ///
    /// # Errors
    /// There is no such subscription, it is a push subscription, or no client can be made.
    pub(crate) async fn start(
        mut subscription: PullSubscription,
        clients: &Clients,
        queue_tokens: usize,
    ) -> Result<Self, PullError> {
        let failed = |why: String| PullError { subscription: subscription.name.clone(), why };
        let (subscriber, admin) = clients.subscriber().await.map_err(|error| failed(error.to_string()))?;
        match describe(&admin, &subscription.name).await {
            Ok(found) if found.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty()) => {
                return Err(failed("it is a push subscription; name one without a push endpoint".to_owned()));
            }
            Ok(found) if found.topic.starts_with("projects/") => subscription.topic = Some(found.topic),
            Ok(_) => {}
            Err((Some(Code::NotFound), text)) => {
                return Err(failed(permanent_error(Code::NotFound, &text).unwrap_or(text)));
            }
            Err((_, why)) => {
                tracing::info!(subscription = subscription.name, why, "cannot read the subscription; pulling anyway");
            }
        }
        Ok(Self { subscription, subscriber, queue_permits: QueuePermits::new(queue_tokens) })
    }

    /// Pulls until `stop` is ready. Then messages in flight may end within the drain time, and the rest is nacked.
    ///
    /// # Errors
    /// Pub/Sub refuses the first stream for a permanent reason. Later ones are opened again and again: what worked
    /// once is expected to work again.
    pub(crate) async fn run(
        self: &Arc<Self>,
        pipeline: &Arc<Pipeline>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), PullError> {
        let mut stop = std::pin::pin!(stop);
        let slots = Arc::new(Semaphore::new(MAX_OUTSTANDING_MESSAGES));
        let (drain, draining) = watch::channel(false);
        let (mut work, mut closing) = (JoinSet::new(), JoinSet::new());
        let keys = OrderingKeys::default();
        let mut backoff = MIN_RECONNECT_DELAY;
        let mut ever_healthy = false;
        tracing::info!(subscription = self.subscription.name, "pulling");
        let ended = loop {
            let opened = Instant::now();
            let mut received = false;
            let mut stream = self.open();
            let end = loop {
                let next = tokio::select! {
                    biased;
                    () = &mut stop => break None,
                    next = next(&slots, &mut stream) => next,
                };
                match next {
                    Ok((slot, message, handler)) => {
                        received = true;
                        while work.try_join_next().is_some() {}
                        let delivery = keys.enqueue(&message.ordering_key);
                        let message = self.message(message, &handler);
                        let handling = Handling {
                            pull: Arc::clone(self),
                            pipeline: Arc::clone(pipeline),
                            draining: draining.clone(),
                            delivery,
                            slot,
                        };
                        work.spawn(handling.run(message, handler));
                    }
                    Err(end) => break Some(end),
                }
            };
            // Acknowledgements of its messages still go through this stream.
            let token = stream.shutdown_token();
            closing.spawn(async move { token.shutdown().await });
            drop(stream);
            let Some(end) = end else { break Ok(()) };
            if received || opened.elapsed() >= HEALTHY_STREAM_AGE {
                (ever_healthy, backoff) = (true, MIN_RECONNECT_DELAY);
            }
            let text = end.as_ref().map_or_else(|| "Pub/Sub ended it".to_owned(), |error| error_chain(error));
            if !ever_healthy
                && let Some(why) = end.as_ref().and_then(code).and_then(|code| permanent_error(code, &text))
            {
                break Err(PullError { subscription: self.subscription.name.clone(), why });
            }
            tracing::warn!(
                subscription = self.subscription.name,
                error = text,
                ?backoff,
                "the stream ended; opening another"
            );
            tokio::select! {
                () = &mut stop => break Ok(()),
                () = sleep(backoff) => backoff = (backoff * 2).min(MAX_RECONNECT_DELAY),
            }
        };
        let _ = drain.send(true);
        let drained = async { while work.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_TIMEOUT - FINAL_ACK_TIMEOUT, drained).await.is_err() {
            tracing::warn!(messages = work.len(), "drain timed out; messages still in flight are redelivered");
            work.shutdown().await;
        }
        let closed = async { while closing.join_next().await.is_some() {} };
        if timeout(FINAL_ACK_TIMEOUT, closed).await.is_err() {
            tracing::warn!("Pub/Sub did not confirm the last acknowledgements; some messages may be redelivered");
        }
        ended
    }

    fn open(&self) -> MessageStream {
        self.subscriber
            .subscribe(&self.subscription.name)
            .set_max_lease_extension(LEASE_EXTENSION)
            .set_max_outstanding_messages(MAX_OUTSTANDING_MESSAGES as i64)
            .set_max_outstanding_bytes(MAX_OUTSTANDING_BYTES)
            .build()
    }

    fn message(&self, message: model::Message, handler: &Handler) -> Message {
        let source = self.subscription.topic.as_ref().unwrap_or(&self.subscription.name);
        Message {
            id: message.message_id,
            source: format!("//pubsub.googleapis.com/{source}"),
            kind: PUBSUB_TYPE.to_owned(),
            time: message.publish_time.map(String::from).unwrap_or_default(),
            data: message.data,
            content_type: String::new(),
            attributes: message.attributes.into_iter().collect(),
            ordering_key: message.ordering_key,
            delivery_attempt: handler.delivery_attempt().and_then(|attempt| u32::try_from(attempt).ok()),
            subscription: self.subscription.name.clone(),
        }
    }
}

type Received = (OwnedSemaphorePermit, model::Message, Handler);

/// The next message, once there is a slot for it. `Err` is the end of the stream, with the error if it was one.
async fn next(slots: &Arc<Semaphore>, stream: &mut MessageStream) -> Result<Received, Option<Error>> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(|_| None)?; // never closed
    match stream.next().await {
        Some(Ok((message, handler))) => Ok((slot, message, handler)),
        Some(Err(error)) => Err(Some(error)),
        None => Err(None),
    }
}

/// What handling one message takes. Dropped, the message is nacked and its slot is free.
struct Handling {
    pull: Arc<Pull>,
    pipeline: Arc<Pipeline>,
    draining: watch::Receiver<bool>,
    delivery: OrderedDelivery,
    slot: OwnedSemaphorePermit,
}

impl Handling {
    async fn run(mut self, message: Message, handler: Handler) {
        if !self.delivery.predecessor_done().await {
            handler.nack(); // its predecessor is redelivered, so this one has to come after it
            return;
        }
        let when_full = WhenFull::Wait(&self.pull.queue_permits);
        let handled = self.pipeline.process(&message, TraceContext::default(), when_full).await;
        if handled.dead_lettered || matches!(handled.outcome, Outcome::Done(_)) {
            self.delivery.finish();
            acknowledge(&message, handler).await;
        } else {
            let delay = match handled.outcome {
                Outcome::Retry { after, .. } => after.unwrap_or(DEFAULT_NACK_DELAY),
                Outcome::Overloaded { after } => after,
                Outcome::Done(_) | Outcome::Rejected { .. } => DEFAULT_NACK_DELAY,
            };
            // A drain ends the delay: the message can go to another process at once.
            let _ = timeout(delay.min(MAX_NACK_DELAY), self.draining.wait_for(|draining| *draining)).await;
            drop(self.delivery);
            handler.nack();
        }
        drop(self.slot);
    }
}

async fn acknowledge(message: &Message, handler: Handler) {
    match handler {
        Handler::ExactlyOnce(handler) => {
            if let Err(error) = handler.confirmed_ack().await {
                tracing::warn!(
                    message_id = message.id,
                    error = error_chain(&error),
                    "not acknowledged; the message is redelivered"
                );
            }
        }
        handler => handler.ack(),
    }
}

/// Reads the subscription; or returns the status, if there is one, and the text of the error.
async fn describe(admin: &SubscriptionAdmin, name: &str) -> Result<model::Subscription, (Option<Code>, String)> {
    match timeout(LOOKUP_TIMEOUT, admin.get_subscription().set_subscription(name).send()).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err((code(&error), error_chain(&error))),
        Err(_) => Err((None, format!("no answer in {LOOKUP_TIMEOUT:?}"))),
    }
}

fn code(error: &Error) -> Option<Code> {
    error.status().map(|status| status.code)
}

/// What to do about a refusal, if it is permanent.
fn permanent_error(code: Code, text: &str) -> Option<String> {
    let advice = match code {
        Code::NotFound => "there is no such subscription; create it, or name another",
        Code::PermissionDenied | Code::Unauthenticated => {
            "not allowed; grant this process's account roles/pubsub.subscriber on it"
        }
        Code::InvalidArgument | Code::FailedPrecondition => "it cannot be pulled from",
        _ => return None,
    };
    Some(format!("{advice} ({text})"))
}
