//! Messages to push endpoints: one task for each push subscription, many requests under way.

mod request;
mod token;
mod window;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::event::Cause;
use super::queue::{Delivery, Want};
use super::server::DRAIN;
use super::settings::rules;
use super::shared::Shared;
use super::state::{AckId, Answer, Taken};
use super::time::Time;
use infra::error_chain;
use token::Tokens;
pub(super) use token::key_set;
use window::Window;

/// The most bytes of messages under way for one subscription, unless a single one is larger.
const UNDER_WAY: usize = 64 << 20;
/// What is read of an answer's body, to keep its connection.
const ANSWER: usize = 64 << 10;
/// Idle connections to one endpoint.
const IDLE: usize = 256;
/// How long an endpoint may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// What all pushes of a bus share.
pub(super) struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
    tokens: Tokens,
    subscriptions: AtomicUsize,
    ended: Notify,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(IDLE)
            .build(connector);
        Self { http, tokens: Tokens::default(), subscriptions: AtomicUsize::new(0), ended: Notify::new() }
    }

    /// Ready when nothing is under way, once the bus is stopping.
    pub(super) async fn drained(&self) {
        loop {
            let ended = self.ended.notified();
            if self.subscriptions.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Pushes the messages of this subscription from now on, if it has an endpoint and nobody does so already.
pub(super) fn begin(shared: &Arc<Shared>, name: &str) {
    let Some(uid) = shared.with(|state, _| state.begin_pushing(name)) else { return };
    let (shared, name) = (Arc::clone(shared), name.to_owned());
    shared.client.subscriptions.fetch_add(1, Ordering::AcqRel);
    tokio::spawn(async move {
        push(&shared, &name, uid).await;
        shared.client.subscriptions.fetch_sub(1, Ordering::AcqRel);
        shared.client.ended.notify_waiters();
    });
}

async fn push(shared: &Arc<Shared>, name: &str, uid: u64) {
    let Ok(wake) = shared.with(|state, _| state.wake(name)) else { return };
    let holder = shared.holder();
    let mut window = Window::new();
    let mut under_way = JoinSet::new();
    let mut stopping = std::pin::pin!(shared.stopping());
    loop {
        let woken = wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let (now, taken) = shared.with(|state, now| {
            let bytes = UNDER_WAY.saturating_sub(state.load(name, holder).bytes);
            let messages = if bytes == 0 { 0 } else { window.room(now) };
            let want = Want { messages, bytes, holder, lease: None, runs: false };
            (now, state.take_pushed(now, name, uid, want))
        });
        let Some(Taken { deliveries, settings, eventarc, hurried }) = taken else { break };
        if hurried {
            window.resume();
        }
        let pauses = settings.retry_policy.is_none();
        for (id, delivery) in deliveries {
            let number = window.send();
            let send = send(Arc::clone(shared), Arc::clone(&settings), eventarc, delivery, now);
            under_way.spawn(async move { (number, id, send.await) });
        }
        if hurried {
            continue;
        }
        let resumes = window.resumes(now);
        tokio::select! {
            Some(joined) = under_way.join_next() => {
                settle(shared, name, &mut window, pauses, joined);
                while let Some(joined) = under_way.try_join_next() {
                    settle(shared, name, &mut window, pauses, joined);
                }
            }
            () = woken => {}
            () = shared.sleep_until(resumes) => {}
            () = &mut stopping => break,
        }
    }
    let drain = async {
        while let Some(joined) = under_way.join_next().await {
            settle(shared, name, &mut window, false, joined);
        }
    };
    let end = async {
        shared.stopping().await;
        tokio::time::sleep(DRAIN).await;
    };
    // What is left at the end goes with the set.
    tokio::select! {
        () = drain => {}
        () = end => {}
    }
}

type Joined = Result<(u64, AckId, Answer), tokio::task::JoinError>;

fn settle(shared: &Shared, name: &str, window: &mut Window, pauses: bool, joined: Joined) {
    // One that panicked is not settled: its deadline will.
    let Ok((number, id, answer)) = joined else { return };
    shared.with(|state, now| {
        match &answer {
            Answer::Ack => window.acked(),
            Answer::Nack(_) => window.nacked(now, number, pauses),
        }
        state.answer(now, name, id, answer);
    });
}

async fn send(
    shared: Arc<Shared>,
    settings: Arc<pb::Subscription>,
    eventarc: bool,
    delivery: Delivery,
    now: Time,
) -> Answer {
    let unanswered = |why: String| Answer::Nack(Cause::Unanswered(why.into()));
    let Delivery { message, attempt, .. } = delivery;
    let tokens = &shared.client.tokens;
    let request = match request::build(&settings, eventarc, &message, attempt, tokens, now) {
        Ok(request) => request,
        Err(why) => return unanswered(why),
    };
    let deadline = rules(&settings).ack_deadline;
    match tokio::time::timeout(deadline, exchange(&shared.client, request)).await {
        Ok(Ok(status)) => match status.as_u16() {
            102 | 200 | 201 | 202 | 204 => Answer::Ack,
            status => Answer::Nack(Cause::Status(status)),
        },
        Ok(Err(why)) => unanswered(why),
        Err(_) => unanswered(format!("no answer within the acknowledgement deadline of {} s", deadline.as_secs())),
    }
}

/// The status of the answer. 102 counts as one, although HTTP has another one follow.
async fn exchange(client: &Client, mut request: Request<Full<Bytes>>) -> Result<StatusCode, String> {
    let processing = Arc::new(Notify::new());
    let seen = Arc::clone(&processing);
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status() == StatusCode::PROCESSING {
            seen.notify_one();
        }
    });
    let answer = async {
        let response = client.http.request(request).await.map_err(|error| error_chain(&error))?;
        let status = response.status();
        discard(response).await;
        Ok(status)
    };
    tokio::select! {
        biased;
        () = processing.notified() => Ok(StatusCode::PROCESSING),
        answer = answer => answer,
    }
}

/// Reads the answer's body, if it is short, so that its connection serves the next message.
async fn discard(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut read = 0;
    while !body.is_end_stream() && read < ANSWER {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
