//! What happens when time passes: deadlines, backoffs, retention, the expiry of snapshots.

use std::sync::Arc;

use super::restore::record_released;
use super::{State, emit};
use crate::event::EventKind;
use crate::settings::duration;
use crate::time::Time;

impl State {
    /// Does everything that is due; returns when to call it next. `alarm_changed` is notified if that gets earlier.
    pub(crate) fn tick(&mut self, now: Time) -> Time {
        let due: Vec<String> = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| subscription.queue.due() <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.tick_subscription(now, &name);
        }
        let mut next = self.expire_snapshots(now);
        for topic in self.topics.values_mut() {
            let retention = duration(topic.settings.message_retention_duration.as_ref());
            while topic.kept.front().is_some_and(|message| message.publish_time.after(retention) <= now) {
                if let Some(message) = topic.kept.pop_front() {
                    record_released(self.journal.as_ref(), topic.uid, &message);
                }
            }
            next = next.min(topic.kept.front().map_or(Time::NEVER, |message| message.publish_time.after(retention)));
        }
        for subscription in self.subscriptions.values() {
            next = next.min(subscription.queue.due());
        }
        self.alarm = next;
        next
    }

    pub(super) fn tick_subscription(&mut self, now: Time, name: &str) {
        let can_forward = self.can_forward(name);
        let events = self.events.clone();
        let Some(subscription) = self.subscriptions.get_mut(name) else { return };
        let elapsed = subscription.queue.tick(now, can_forward);
        let mut dead = Vec::new();
        for outcome in elapsed.expired {
            let name = || Arc::clone(&subscription.name);
            emit(&events, now, outcome.message(), || EventKind::Expired { subscription: name() });
            dead.extend(outcome.dead_letter());
        }
        for message in elapsed.discarded {
            let name = || Arc::clone(&subscription.name);
            emit(&events, now, &message, || EventKind::Discarded { subscription: name() });
        }
        // Also when no message is ready: a subscriber may hold less than before, and take more.
        subscription.wake.notify_waiters();
        self.forward(now, name, dead);
    }
}
