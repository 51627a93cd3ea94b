//! Pushes: one task for each push subscription, which has many requests in flight.
//!
//! - `request`: what is sent; `token`: the OIDC tokens that requests carry
//! - `window`: how many requests may be in flight; `client`: connections, and draining at shutdown

pub(super) mod client;
mod request;
pub(super) mod token;
mod window;

use std::sync::Arc;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tokio::task::{JoinError, JoinSet};

use super::event::NackReason;
use super::queue::{Delivery, PullRequest};
use super::settings::queue_config;
use super::shared::{DRAIN_TIMEOUT, Shared};
use super::state::AckId;
use super::state::delivery::{PulledMessages, PushOutcome};
use super::time::Time;
use window::Window;

/// The most bytes of messages in flight for one subscription, unless a single message is larger.
const MAX_BYTES_IN_FLIGHT: usize = 64 << 20;

/// Starts the task that pushes the messages of this subscription, if it has an endpoint and no such task yet.
pub(super) fn begin(shared: &Arc<Shared>, name: &str) {
    let Some(uid) = shared.with_state(|state, _| state.begin_pushing(name)) else { return };
    let (shared, name) = (Arc::clone(shared), name.to_owned());
    shared.push_client.task_begins();
    tokio::spawn(async move {
        push(&shared, &name, uid).await;
        shared.push_client.task_ends();
    });
}

/// Pushes until the subscription is gone, has no endpoint any more, or shutdown begins; then waits for the requests
/// that are in flight.
async fn push(shared: &Arc<Shared>, name: &str, uid: u64) {
    let Ok(wake) = shared.with_state(|state, _| state.wake(name)) else { return };
    let subscriber = shared.new_subscriber_id();
    let mut window = Window::new();
    let mut in_flight = JoinSet::new();
    let mut shutdown = std::pin::pin!(shared.shutdown_started());
    loop {
        let woken = wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let (now, taken) = shared.with_state(|state, now| {
            let max_bytes = MAX_BYTES_IN_FLIGHT.saturating_sub(state.outstanding(name, subscriber).bytes);
            let max_messages = if max_bytes == 0 { 0 } else { window.available(now) };
            let pull = PullRequest { max_messages, max_bytes, subscriber, lease: None, many_per_key: false };
            (now, state.take_for_push(now, name, uid, pull))
        });
        let Some(PulledMessages { deliveries, settings, eventarc, backoff_skipped }) = taken else { break };
        if backoff_skipped {
            window.resume();
        }
        let pauses = settings.retry_policy.is_none();
        for (id, delivery) in deliveries {
            let number = window.send();
            let send = send(Arc::clone(shared), Arc::clone(&settings), eventarc, delivery, now);
            in_flight.spawn(async move { (number, id, send.await) });
        }
        if backoff_skipped {
            continue;
        }
        let resumes = window.resumes(now);
        tokio::select! {
            Some(joined) = in_flight.join_next() => {
                settle(shared, name, &mut window, pauses, joined);
                while let Some(joined) = in_flight.try_join_next() {
                    settle(shared, name, &mut window, pauses, joined);
                }
            }
            () = woken => {}
            () = shared.sleep_until(resumes) => {}
            () = &mut shutdown => break,
        }
    }
    let drain = async {
        while let Some(joined) = in_flight.join_next().await {
            settle(shared, name, &mut window, false, joined);
        }
    };
    let deadline = async {
        shared.shutdown_started().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    // Requests that are still in flight at the deadline are dropped with the set.
    tokio::select! {
        () = drain => {}
        () = deadline => {}
    }
}

type Joined = Result<(u64, AckId, PushOutcome), JoinError>;

/// Tells the window and the state how a request ended.
fn settle(shared: &Shared, name: &str, window: &mut Window, pauses: bool, joined: Joined) {
    // A request whose task panicked is not settled: the acknowledgement deadline of its message passes instead.
    let Ok((number, id, outcome)) = joined else { return };
    shared.with_state(|state, now| {
        match &outcome {
            PushOutcome::Ack => window.acked(),
            PushOutcome::Nack(_) => window.nacked(now, number, pauses),
        }
        state.finish_push(now, name, id, outcome);
    });
}

async fn send(
    shared: Arc<Shared>,
    settings: Arc<pb::Subscription>,
    eventarc: bool,
    delivery: Delivery,
    now: Time,
) -> PushOutcome {
    let no_response = |why: String| PushOutcome::Nack(NackReason::NoResponse(why.into()));
    let Delivery { message, attempt, .. } = delivery;
    let tokens = &shared.push_client.tokens;
    let request = match request::build(&settings, eventarc, &message, attempt, tokens, now) {
        Ok(request) => request,
        Err(why) => return no_response(why),
    };
    let deadline = queue_config(&settings).ack_deadline;
    match tokio::time::timeout(deadline, shared.push_client.send(request)).await {
        Ok(Ok(status)) => match status.as_u16() {
            102 | 200 | 201 | 202 | 204 => PushOutcome::Ack,
            status => PushOutcome::Nack(NackReason::Status(status)),
        },
        Ok(Err(why)) => no_response(why),
        Err(_) => no_response(format!("no answer within the acknowledgement deadline of {} s", deadline.as_secs())),
    }
}
