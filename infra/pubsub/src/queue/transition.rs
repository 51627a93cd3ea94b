//! The states of messages, and the indices that follow them.

use super::{DeliveryState, Entry, Queue};
use crate::journal::Hold;
use crate::time::Time;

impl Queue {
    /// Puts a message into another state. All changes of state go through here, which keeps the indices and the sums of
    /// outstanding messages in step.
    pub(super) fn transition(&mut self, number: u64, state: DeliveryState) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let former = std::mem::replace(&mut entry.state, state);
        let (not_before, size) = (entry.not_before, entry.message.size());
        self.remove_from_index(number, former, not_before, size);
        match state {
            DeliveryState::Waiting | DeliveryState::Acked => {}
            DeliveryState::Ready => {
                self.ready.insert(number);
            }
            DeliveryState::Delayed => {
                self.delayed.insert((not_before, number));
            }
            DeliveryState::Leased { until, subscriber } => {
                self.leases.insert((until, number));
                let outstanding = self.outstanding.entry(subscriber).or_default();
                outstanding.messages += 1;
                outstanding.bytes += size;
            }
        }
    }

    fn remove_from_index(&mut self, number: u64, former: DeliveryState, not_before: Time, size: usize) {
        match former {
            DeliveryState::Waiting | DeliveryState::Acked => {}
            DeliveryState::Ready => {
                self.ready.remove(&number);
            }
            DeliveryState::Delayed => {
                self.delayed.remove(&(not_before, number));
            }
            DeliveryState::Leased { until, subscriber } => {
                self.leases.remove(&(until, number));
                if let Some(outstanding) = self.outstanding.get_mut(&subscriber) {
                    outstanding.messages -= 1;
                    outstanding.bytes -= size;
                    if outstanding.messages == 0 {
                        self.outstanding.remove(&subscriber);
                    }
                }
            }
        }
    }

    /// Makes a message ready, or delayed while its backoff lasts; [`Queue::tick`] ends a backoff that is over.
    pub(super) fn schedule(&mut self, number: u64) {
        let Some(entry) = self.entries.get(&number) else { return };
        // Without a backoff `Delayed` would only cost a tick.
        let ready = entry.not_before == Time::default() || self.config.backoff_after(entry.failures).is_zero();
        self.transition(number, if ready { DeliveryState::Ready } else { DeliveryState::Delayed });
    }

    /// Makes the first message of a key ready when none of the key is outstanding.
    pub(super) fn schedule_key(&mut self, key: &str) {
        let Some(order) = self.keys.get(key) else { return };
        if let Some(head) = order.head() {
            if self.entries.get(&head).is_some_and(|entry| entry.state == DeliveryState::Waiting) {
                self.schedule(head);
            }
        } else if order.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Removes an acknowledged message, and keeps it for a seek if the subscription says so.
    pub(super) fn remove_acked(&mut self, number: u64) {
        let Some(entry) = self.remove(number) else { return };
        if self.config.retain_acked {
            let charge = self.usage.delivery();
            self.acked.insert(number, (entry.message, charge));
            self.record(number, Some(Hold::Acked));
        }
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.record(number, None);
        self.remove_from_index(number, entry.state, entry.not_before, entry.message.size());
        if self.is_ordered(&entry.message)
            && let Some(order) = self.keys.get_mut(&entry.message.ordering_key)
        {
            order.remove(number);
        }
        Some(entry)
    }
}
