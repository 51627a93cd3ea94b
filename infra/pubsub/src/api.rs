//! The methods that do more than one thing with the state, in the form that gRPC and REST share. All other methods are
//! methods of the state.

use std::sync::Arc;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tonic::Status;

use super::error::{out_of_bounds, stale};
use super::push;
use super::queue::PullRequest;
use super::shared::Shared;
use super::state::delivery::AckOutcome;

/// How long a pull waits for a first message.
const PULL_WAIT: Duration = Duration::from_secs(20);
/// The most messages of one pull response.
pub(super) const MAX_PULL_MESSAGES: usize = 1000;
/// The most bytes of one pull response, unless its first message is larger.
pub(super) const MAX_PULL_BYTES: usize = 3 << 20;

pub(super) async fn publish(shared: &Shared, request: pb::PublishRequest) -> Result<pb::PublishResponse, Status> {
    let message_ids = shared.update_durably(|state, now| state.publish(now, request)).await?;
    Ok(pb::PublishResponse { message_ids })
}

/// Creates a subscription, and pushes its messages if it has an endpoint.
pub(super) async fn create_subscription(
    shared: &Arc<Shared>,
    request: pb::Subscription,
) -> Result<pb::Subscription, Status> {
    // Pushes begin before the wait for the disk, which is cancelled when the client disconnects.
    let (created, batch) = shared.update(|state, _| state.create_subscription(request))?;
    push::begin(shared, &created.name);
    shared.wait_durable(batch).await?;
    Ok(created)
}

/// Changes a subscription, and pushes its messages if it has an endpoint now.
pub(super) async fn update_subscription(
    shared: &Arc<Shared>,
    request: pb::UpdateSubscriptionRequest,
) -> Result<pb::Subscription, Status> {
    let (updated, batch) = shared.update(|state, _| state.update_subscription(request))?;
    push::begin(shared, &updated.name);
    shared.wait_durable(batch).await?;
    Ok(updated)
}

/// Changes where a subscription pushes to, or makes it a pull subscription.
pub(super) async fn modify_push_config(
    shared: &Arc<Shared>,
    request: pb::ModifyPushConfigRequest,
) -> Result<(), Status> {
    let name = request.subscription.clone();
    let ((), batch) = shared.update(|state, _| state.modify_push_config(request))?;
    push::begin(shared, &name);
    shared.wait_durable(batch).await
}

/// Pulls, and waits for a first message unless told otherwise.
pub(super) async fn pull(shared: &Shared, request: pb::PullRequest) -> Result<pb::PullResponse, Status> {
    let messages = match usize::try_from(request.max_messages) {
        Ok(messages) if messages > 0 => messages.min(MAX_PULL_MESSAGES),
        _ => return Err(out_of_bounds("max_messages", request.max_messages, "1 to 1000")),
    };
    let pull = PullRequest {
        max_messages: messages,
        max_bytes: MAX_PULL_BYTES,
        subscriber: shared.new_subscriber_id(),
        lease: None,
        many_per_key: true,
    };
    #[allow(deprecated, reason = "clients still send it")]
    let max_wait = if request.return_immediately { Duration::ZERO } else { PULL_WAIT };
    let taken = shared.pull(&request.subscription, pull, max_wait).await?;
    Ok(pb::PullResponse { received_messages: taken.received() })
}

/// Acknowledges. With exactly-once delivery an answered acknowledgement holds for good, so it is on disk first.
pub(super) async fn acknowledge(shared: &Shared, request: pb::AcknowledgeRequest) -> Result<(), Status> {
    let pb::AcknowledgeRequest { subscription, ack_ids } = request;
    let (outcome, exactly_once) = shared.with_state(|state, now| {
        let outcome = state.acknowledge(now, &subscription, ack_ids)?;
        Ok::<_, Status>((outcome, state.exactly_once(&subscription)))
    })?;
    if exactly_once {
        shared.update_durably(|_, _| Ok(())).await?;
    }
    refuse_stale(&outcome)
}

/// Extends acknowledgement deadlines; a deadline of zero nacks.
pub(super) fn modify_ack_deadline(shared: &Shared, request: pb::ModifyAckDeadlineRequest) -> Result<(), Status> {
    let pb::ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds } = request;
    let lease = lease(ack_deadline_seconds)?;
    let outcome = shared.with_state(|state, now| state.modify_ack_deadline(now, &subscription, ack_ids, lease))?;
    refuse_stale(&outcome)
}

fn refuse_stale(outcome: &AckOutcome) -> Result<(), Status> {
    if outcome.stale.is_empty() { Ok(()) } else { Err(stale(&outcome.stale)) }
}

/// How long a subscriber asks to lease a message.
///
/// # Errors
/// INVALID_ARGUMENT for a number of seconds that no lease may have.
pub(super) fn lease(seconds: i32) -> Result<Duration, Status> {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds <= 600 => Ok(Duration::from_secs(seconds)),
        _ => Err(out_of_bounds("ack_deadline_seconds", seconds, "0 to 600")),
    }
}
