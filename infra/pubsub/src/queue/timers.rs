//! What happens to the messages of a queue when time passes.

use super::delivery::Elapsed;
use super::{DeliveryState, Entry, Queue};
use crate::message::Message;
use crate::time::Time;

impl Queue {
    /// Does everything that is due: deadlines pass, backoffs end, retention ends. `can_forward`: the subscription has a
    /// dead-letter topic, and it exists.
    pub(crate) fn tick(&mut self, now: Time, can_forward: bool) -> Elapsed {
        let mut elapsed = Elapsed::default();
        while let Some(&(until, number)) = self.leases.first()
            && until <= now
        {
            elapsed.expired.extend(self.fail_delivery(now, number, can_forward));
        }
        while let Some(&(at, number)) = self.delayed.first()
            && at <= now
        {
            self.transition(number, DeliveryState::Ready);
        }
        while let Some((&number, entry)) = self.entries.first_key_value()
            && self.retention_end(&entry.message) <= now
        {
            let Some(Entry { message, state, .. }) = self.remove(number) else { break };
            self.schedule_key(&message.ordering_key);
            if state != DeliveryState::Acked {
                elapsed.discarded.push(message);
            }
        }
        while let Some((&number, (message, _))) = self.acked.first_key_value()
            && self.retention_end(message) <= now
        {
            self.acked.remove(&number);
            self.record(number, None);
        }
        elapsed.ready = !self.ready.is_empty();
        elapsed
    }

    /// When [`Queue::tick`] has something to do next.
    pub(crate) fn due(&self) -> Time {
        let dues = [
            self.leases.first().map(|&(at, _)| at),
            self.delayed.first().map(|&(at, _)| at),
            self.entries.first_key_value().map(|(_, entry)| self.retention_end(&entry.message)),
            self.acked.first_key_value().map(|(_, (message, _))| self.retention_end(message)),
        ];
        dues.into_iter().flatten().min().unwrap_or(Time::NEVER)
    }

    /// Ends every backoff: all messages that wait for their next attempt are ready.
    pub(crate) fn skip_backoff(&mut self) {
        for (_, number) in std::mem::take(&mut self.delayed) {
            self.transition(number, DeliveryState::Ready);
        }
        for entry in self.entries.values_mut() {
            entry.not_before = Time::default();
        }
    }

    fn retention_end(&self, message: &Message) -> Time {
        message.publish_time.after(self.config.retention)
    }
}
