//! How deliveries end: acknowledged, extended, nacked.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::{FailedMessage, NackOutcome, StaleAckIdError};
use super::ordering::KeyOrder;
use super::{DeliveryState, Queue};
use crate::journal::Hold;
use crate::message::Message;
use crate::time::Time;

impl Queue {
    /// Acknowledges a delivery; returns the message if it was here.
    ///
    /// # Errors
    /// [`StaleAckIdError`] with exactly-once delivery, when the delivery was over already.
    pub(crate) fn acknowledge(
        &mut self,
        now: Time,
        number: u64,
        token: u64,
    ) -> Result<Option<Arc<Message>>, StaleAckIdError> {
        let entry = match self.entries.get(&number) {
            Some(entry) => entry,
            None if self.config.exactly_once => return Err(StaleAckIdError),
            None => return Ok(None),
        };
        let current = entry.token == token && matches!(entry.state, DeliveryState::Leased { until, .. } if until > now);
        if self.config.exactly_once && !current {
            return Err(StaleAckIdError);
        }
        let message = Arc::clone(&entry.message);
        if !self.is_ordered(&message) {
            self.remove_acked(number);
            return Ok(Some(message));
        }
        // A message that waits for its redelivery must not leave the order of its key.
        if !matches!(entry.state, DeliveryState::Leased { .. }) {
            return Ok(None);
        }
        self.transition(number, DeliveryState::Acked);
        // The acknowledged messages at the front of the run can go; those behind an unacknowledged one are kept.
        let key = message.ordering_key.clone();
        while let Some(oldest) = self.keys.get(&key).and_then(KeyOrder::oldest_outstanding) {
            if self.entries.get(&oldest).is_none_or(|entry| entry.state != DeliveryState::Acked) {
                break;
            }
            self.remove_acked(oldest);
        }
        self.schedule_key(&key);
        Ok(Some(message))
    }

    /// Moves the deadline of a delivery to `now + lease`.
    ///
    /// # Errors
    /// As [`Queue::acknowledge`].
    pub(crate) fn extend(
        &mut self,
        now: Time,
        number: u64,
        token: u64,
        lease: Duration,
    ) -> Result<(), StaleAckIdError> {
        match self.current_subscriber(now, number, token) {
            Some(subscriber) => {
                self.transition(number, DeliveryState::Leased { until: now.after(lease), subscriber });
            }
            None if self.config.exactly_once => return Err(StaleAckIdError),
            None => {}
        }
        Ok(())
    }

    /// Nacks a delivery. `can_forward`: the subscription has a dead-letter topic, and it exists.
    ///
    /// # Errors
    /// As [`Queue::acknowledge`].
    pub(crate) fn nack(
        &mut self,
        now: Time,
        number: u64,
        token: u64,
        can_forward: bool,
    ) -> Result<Option<NackOutcome>, StaleAckIdError> {
        match self.current_subscriber(now, number, token) {
            Some(_) => Ok(self.fail_delivery(now, number, can_forward)),
            None if self.config.exactly_once => Err(StaleAckIdError),
            None => Ok(None),
        }
    }

    /// Counts a failed delivery: the message is scheduled again, or leaves the queue as a dead letter.
    pub(super) fn fail_delivery(&mut self, now: Time, number: u64, can_forward: bool) -> Option<NackOutcome> {
        let entry = self.entries.get_mut(&number)?;
        entry.failures += 1;
        let failures = entry.failures;
        entry.not_before = now.after(self.config.backoff_after(failures));
        let message = Arc::clone(&entry.message);
        self.record(number, Some(Hold::Unacked { failures }));
        let key = self.is_ordered(&message).then(|| message.ordering_key.clone());
        if let Some(key) = &key {
            let returned = self.keys.get_mut(key).map(|order| order.return_from(number)).unwrap_or_default();
            for number in returned {
                self.transition(number, DeliveryState::Waiting);
            }
        }
        let dead = can_forward && self.config.max_attempts.is_some_and(|most| failures >= most);
        let outcome = if dead {
            self.remove(number);
            NackOutcome::DeadLetter(FailedMessage { message, failures })
        } else {
            if key.is_none() {
                self.schedule(number);
            }
            NackOutcome::Redeliver(message)
        };
        if let Some(key) = key {
            self.schedule_key(&key);
        }
        Some(outcome)
    }

    /// Who holds this delivery, unless it is over.
    fn current_subscriber(&self, now: Time, number: u64, token: u64) -> Option<u64> {
        let entry = self.entries.get(&number).filter(|entry| entry.token == token)?;
        match entry.state {
            DeliveryState::Leased { until, subscriber } if until > now => Some(subscriber),
            _ => None,
        }
    }
}
