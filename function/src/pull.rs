//! The same flow, fed from a pull subscription.
//!
//! Streaming pull brings messages, each goes the way of a pushed one, and its end is told to Pub/Sub:
//!
//! | outcome | Pub/Sub |
//! |---|---|
//! | Done, or Rejected and in the dead-letter topic | acknowledged |
//! | Retry, Overloaded, or Rejected without a dead-letter topic | given back after a pause |
//!
//! The client extends leases while work lasts. At most [`MESSAGES`] messages and [`BYTES`] of them are here at a time, which
//! keeps full batches waiting for the encoder, and their work waits for room in its queue (`room`). Messages of one ordering
//! key go one after the other (`order`). A stream that ends is opened again after a pause that grows.

mod order;
mod room;

use std::sync::Arc;
use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{Subscriber, SubscriptionAdmin};
use google_cloud_pubsub::model;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::cloud::Clients;
use crate::event::PUBSUB_TYPE;
use crate::server::{DRAIN_TIME, Flow};
use crate::{Message, Outcome};
use infra::error_chain;
use order::{Keys, Turn};
pub(crate) use room::Room;

/// Messages here at a time: several batches of short ones.
const MESSAGES: usize = 1000;
/// Bytes of messages that Pub/Sub sends before the first of them is answered for; one message may exceed it.
const BYTES: i64 = 32 << 20;
/// By how much the client extends leases, and so how long the messages of a killed process are kept from others.
const LEASE: Duration = Duration::from_secs(15);
/// How long a look at the subscription may take at the start.
const LOOK: Duration = Duration::from_secs(5);
/// Between the end of a stream and the next one: the first pause, and the longest.
const RECONNECT: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];
/// A stream that lived so long was a good one, even if nothing came.
const GOOD: Duration = Duration::from_secs(10);
/// Before a message is given back: unless the outcome knows better, and at most. A fault that lasts must not use up the
/// delivery attempts of every message as fast as the network allows.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// How long the last acknowledgements may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The subscription to pull from.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// `projects/P/subscriptions/S`
    pub(crate) name: String,
    /// `projects/P/topics/T`, where known. The source of its messages; the subscription takes its place.
    pub(crate) topic: Option<String>,
}

/// The subscription cannot be pulled from.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct PullError {
    pub(crate) subscription: String,
    why: String,
}

/// A subscription that was found, or could not be looked at.
pub(crate) struct Pull {
    subscription: Subscription,
    subscriber: Subscriber,
    room: Room,
}

impl Pull {
    /// Looks at the subscription. An account that may pull but not look is no error, nor is a service that does not answer yet.
    ///
    /// # Errors
    /// There is no such subscription, it is a push subscription, or no client can be made.
    pub(crate) async fn start(
        mut subscription: Subscription,
        clients: &Clients,
        queue_tokens: usize,
    ) -> Result<Self, PullError> {
        let failed = |why: String| PullError { subscription: subscription.name.clone(), why };
        let (subscriber, admin) = clients.subscriber().await.map_err(|error| failed(error.to_string()))?;
        match look(&admin, &subscription.name).await {
            Ok(found) if found.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty()) => {
                return Err(failed("it is a push subscription; name one without a push endpoint".to_owned()));
            }
            Ok(found) if found.topic.starts_with("projects/") => subscription.topic = Some(found.topic),
            Ok(_) => {}
            Err((Some(Code::NotFound), text)) => {
                return Err(failed(lasting(Code::NotFound, &text).unwrap_or(text)));
            }
            Err((_, why)) => {
                tracing::info!(
                    subscription = subscription.name,
                    why,
                    "the subscription cannot be looked at; pulling anyway"
                );
            }
        }
        Ok(Self { subscription, subscriber, room: Room::new(queue_tokens) })
    }

    /// Pulls until `stop` is ready, then ends what is leased and gives back the rest.
    ///
    /// # Errors
    /// Pub/Sub refuses the first stream for a reason that does not pass by itself.
    pub(crate) async fn run(
        self: &Arc<Self>,
        flow: &Arc<Flow>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), PullError> {
        let mut stop = std::pin::pin!(stop);
        let slots = Arc::new(Semaphore::new(MESSAGES));
        let (drain, draining) = watch::channel(false);
        let (mut work, mut closing) = (JoinSet::new(), JoinSet::new());
        let keys = Keys::default();
        let mut pause = RECONNECT[0];
        let mut ever_good = false;
        tracing::info!(subscription = self.subscription.name, "pulling");
        let ended = loop {
            let opened = Instant::now();
            let mut came = false;
            let mut stream = self.open();
            let end = loop {
                let next = tokio::select! {
                    biased;
                    () = &mut stop => break None,
                    next = next(&slots, &mut stream) => next,
                };
                match next {
                    Ok((slot, message, handler)) => {
                        came = true;
                        while work.try_join_next().is_some() {}
                        let turn = keys.turn(&message.ordering_key);
                        let message = self.message(message, &handler);
                        let worker = Worker {
                            pull: Arc::clone(self),
                            flow: Arc::clone(flow),
                            draining: draining.clone(),
                            turn,
                            slot,
                        };
                        work.spawn(worker.run(message, handler));
                    }
                    Err(end) => break Some(end),
                }
            };
            // Acknowledgements of what it brought still go through it.
            let token = stream.shutdown_token();
            closing.spawn(async move { token.shutdown().await });
            drop(stream);
            let Some(end) = end else { break Ok(()) };
            if came || opened.elapsed() >= GOOD {
                (ever_good, pause) = (true, RECONNECT[0]);
            }
            let text = end.as_ref().map_or_else(|| "Pub/Sub ended it".to_owned(), |error| error_chain(error));
            if !ever_good && let Some(why) = end.as_ref().and_then(code).and_then(|code| lasting(code, &text)) {
                break Err(PullError { subscription: self.subscription.name.clone(), why });
            }
            tracing::warn!(
                subscription = self.subscription.name,
                error = text,
                ?pause,
                "the stream ended; opening another"
            );
            tokio::select! {
                () = &mut stop => break Ok(()),
                () = sleep(pause) => pause = (pause * 2).min(RECONNECT[1]),
            }
        };
        let _ = drain.send(true);
        let all = async { while work.join_next().await.is_some() {} };
        if timeout(DRAIN_TIME - LAST_WORDS, all).await.is_err() {
            tracing::warn!(messages = work.len(), "messages still at work are given back");
            work.shutdown().await;
        }
        let all = async { while closing.join_next().await.is_some() {} };
        if timeout(LAST_WORDS, all).await.is_err() {
            tracing::warn!("Pub/Sub did not answer for the last acknowledgements; those messages come again");
        }
        ended
    }

    fn open(&self) -> MessageStream {
        self.subscriber
            .subscribe(&self.subscription.name)
            .set_max_lease_extension(LEASE)
            .set_max_outstanding_messages(MESSAGES as i64)
            .set_max_outstanding_bytes(BYTES)
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

/// The next message, once there is a slot for it; `Err` is the end of the stream, with its reason if there is one.
async fn next(slots: &Arc<Semaphore>, stream: &mut MessageStream) -> Result<Received, Option<Error>> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(|_| None)?; // never closed
    match stream.next().await {
        Some(Ok((message, handler))) => Ok((slot, message, handler)),
        Some(Err(error)) => Err(Some(error)),
        None => Err(None),
    }
}

/// What one message needs on its way.
struct Worker {
    pull: Arc<Pull>,
    flow: Arc<Flow>,
    draining: watch::Receiver<bool>,
    turn: Turn,
    slot: OwnedSemaphorePermit,
}

impl Worker {
    async fn run(mut self, message: Message, handler: Handler) {
        if !self.turn.come().await {
            handler.nack(); // its predecessor comes again, and then so does it
            return;
        }
        let handled = self.flow.handle(&HeaderMap::new(), &message, Some(&self.pull.room)).await;
        if handled.dead_lettered || matches!(handled.outcome, Outcome::Done(_)) {
            self.turn.end();
            acknowledge(&message, handler).await;
        } else {
            let pause = match handled.outcome {
                Outcome::Retry { after, .. } => after.unwrap_or(PAUSE[0]),
                Outcome::Overloaded { after } => after,
                Outcome::Done(_) | Outcome::Rejected { .. } => PAUSE[0],
            };
            // Nobody drains without saying so, and then there is no time to lose.
            let _ = timeout(pause.min(PAUSE[1]), self.draining.wait_for(|draining| *draining)).await;
            drop(self.turn);
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
                    "not acknowledged; the message comes again"
                );
            }
        }
        handler => handler.ack(),
    }
}

/// The subscription as Pub/Sub describes it; else the status and what was said.
async fn look(admin: &SubscriptionAdmin, name: &str) -> Result<model::Subscription, (Option<Code>, String)> {
    match timeout(LOOK, admin.get_subscription().set_subscription(name).send()).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err((code(&error), error_chain(&error))),
        Err(_) => Err((None, format!("no answer in {LOOK:?}"))),
    }
}

fn code(error: &Error) -> Option<Code> {
    error.status().map(|status| status.code)
}

/// What to do about a refusal that does not pass by itself.
fn lasting(code: Code, text: &str) -> Option<String> {
    let right = match code {
        Code::NotFound => "there is no such subscription; create it, or name another",
        Code::PermissionDenied | Code::Unauthenticated => {
            "not allowed; grant this process's account roles/pubsub.subscriber on it"
        }
        Code::InvalidArgument | Code::FailedPrecondition => "it cannot be pulled from",
        _ => return None,
    };
    Some(format!("{right} ({text})"))
}
