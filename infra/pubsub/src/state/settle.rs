//! How deliveries end: acknowledged, extended, nacked, answered by a push endpoint.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tonic::Status;

use super::delivery::{AckOutcome, PushOutcome};
use super::{AckId, State, Subscription, emit};
use crate::error::invalid;
use crate::event::{Event, EventKind, NackReason};
use crate::names::Kind;
use crate::queue::{FailedMessage, NackOutcome};
use crate::time::Time;

impl State {
    /// Acknowledges deliveries.
    ///
    /// # Errors
    /// NOT_FOUND; INVALID_ARGUMENT for what is no acknowledgement id.
    pub(crate) fn acknowledge(&mut self, now: Time, name: &str, ack_ids: Vec<String>) -> Result<AckOutcome, Status> {
        self.settle(name, ack_ids, |subscription, events, id| {
            let acked = subscription.queue.acknowledge(now, id.number, id.token).map_err(drop)?;
            if let Some(message) = acked {
                emit(events, now, &message, || EventKind::Acked { subscription: Arc::clone(&subscription.name) });
            }
            Ok(None)
        })
        .map(|(outcome, _)| outcome)
    }

    /// Moves the deadlines of deliveries to this much time from now; zero nacks them.
    ///
    /// # Errors
    /// As [`State::acknowledge`].
    pub(crate) fn modify_ack_deadline(
        &mut self,
        now: Time,
        name: &str,
        ack_ids: Vec<String>,
        lease: Duration,
    ) -> Result<AckOutcome, Status> {
        let can_forward = self.can_forward(name);
        let (outcome, dead) = self.settle(name, ack_ids, |subscription, events, id| {
            if !lease.is_zero() {
                return subscription.queue.extend(now, id.number, id.token, lease).map(|()| None).map_err(drop);
            }
            let nacked = subscription.queue.nack(now, id.number, id.token, can_forward).map_err(drop)?;
            Ok(nacked.and_then(|nacked| report_nack(subscription, events, now, nacked, NackReason::Subscriber)))
        })?;
        self.forward(now, name, dead);
        Ok(outcome)
    }

    /// Ends a delivery of a push subscription.
    pub(crate) fn finish_push(&mut self, now: Time, name: &str, id: AckId, outcome: PushOutcome) {
        let can_forward = self.can_forward(name);
        let events = self.events.clone();
        let Some(subscription) = self.subscriptions.get_mut(name).filter(|subscription| subscription.uid == id.uid)
        else {
            return;
        };
        let mut dead = None;
        match outcome {
            PushOutcome::Ack => {
                if let Ok(Some(message)) = subscription.queue.acknowledge(now, id.number, id.token) {
                    emit(&events, now, &message, || EventKind::Acked { subscription: Arc::clone(&subscription.name) });
                }
            }
            PushOutcome::Nack(reason) => {
                if let Ok(Some(nacked)) = subscription.queue.nack(now, id.number, id.token, can_forward) {
                    dead = report_nack(subscription, &events, now, nacked, reason);
                }
            }
        }
        self.forward(now, name, dead.into_iter().collect());
        self.arm(name);
    }

    /// Applies `each` to every acknowledgement id. It returns a message that has to be forwarded, or an error for a
    /// delivery that is over.
    fn settle(
        &mut self,
        name: &str,
        ack_ids: Vec<String>,
        mut each: impl FnMut(&mut Subscription, &broadcast::Sender<Event>, AckId) -> Result<Option<FailedMessage>, ()>,
    ) -> Result<(AckOutcome, Vec<FailedMessage>), Status> {
        Kind::Subscription.check(name)?;
        let events = self.events.clone();
        let subscription = self.subscription_mut(name)?;
        if ack_ids.is_empty() {
            return Err(invalid("No ack ids specified."));
        }
        let ids: Vec<AckId> = ack_ids.iter().map(|text| AckId::parse(text)).collect::<Result<_, _>>()?;
        let (mut outcome, mut dead) = (AckOutcome::default(), Vec::new());
        for (id, text) in ids.into_iter().zip(ack_ids) {
            // An id of a deleted subscription of the same name is treated as one of a delivery that is over.
            let result = if id.uid == subscription.uid {
                each(subscription, &events, id)
            } else if subscription.queue.config().exactly_once {
                Err(())
            } else {
                Ok(None)
            };
            match result {
                Ok(failed) => {
                    dead.extend(failed);
                    outcome.accepted.push(text);
                }
                Err(()) => outcome.stale.push(text),
            }
        }
        subscription.wake.notify_waiters();
        self.arm(name);
        Ok((outcome, dead))
    }
}

/// Emits the event of a nack; returns the message if it has to be forwarded.
fn report_nack(
    subscription: &Subscription,
    events: &broadcast::Sender<Event>,
    now: Time,
    outcome: NackOutcome,
    reason: NackReason,
) -> Option<FailedMessage> {
    emit(events, now, outcome.message(), || EventKind::Nacked { subscription: Arc::clone(&subscription.name), reason });
    outcome.dead_letter()
}
