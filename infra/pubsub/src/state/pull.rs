//! Messages out: pulled, or taken to be pushed.

use std::sync::Arc;

use tokio::sync::Notify;
use tonic::Status;

use super::delivery::PulledMessages;
use super::{AckId, State, emit};
use crate::event::EventKind;
use crate::names::Kind;
use crate::queue::{Outstanding, PullRequest};
use crate::settings::is_push;
use crate::time::Time;

impl State {
    /// Leases messages of a pull subscription to this subscriber.
    ///
    /// # Errors
    /// NOT_FOUND; FAILED_PRECONDITION for a push subscription or a detached one.
    pub(crate) fn pull(&mut self, now: Time, name: &str, pull: PullRequest) -> Result<PulledMessages, Status> {
        let subscription = self.subscription(name)?;
        if is_push(&subscription.settings) {
            return Err(Status::failed_precondition("This method is not supported for this subscription type."));
        }
        if subscription.settings.detached {
            return Err(Status::failed_precondition("The subscription is detached from its topic."));
        }
        self.take(now, name, pull)
    }

    /// Leases messages of the push subscription with this uid, to be sent; `None` if it is gone or pushes no more.
    pub(crate) fn take_for_push(
        &mut self,
        now: Time,
        name: &str,
        uid: u64,
        pull: PullRequest,
    ) -> Option<PulledMessages> {
        let subscription = self.subscriptions.get_mut(name).filter(|subscription| subscription.uid == uid)?;
        if !is_push(&subscription.settings) || subscription.settings.detached {
            subscription.pushing = false;
            return None;
        }
        self.take(now, name, pull).ok()
    }

    fn take(&mut self, now: Time, name: &str, pull: PullRequest) -> Result<PulledMessages, Status> {
        if self.subscription(name)?.queue.due() <= now {
            self.tick_subscription(now, name);
        }
        let events = self.events.clone();
        let subscription = self.subscription_mut(name)?;
        let uid = subscription.uid;
        let mut deliveries = Vec::new();
        for delivery in subscription.queue.take(now, pull) {
            let attempt = delivery.attempt;
            emit(&events, now, &delivery.message, || EventKind::Delivered {
                subscription: Arc::clone(&subscription.name),
                attempt,
            });
            deliveries.push((AckId { uid, number: delivery.message.number, token: delivery.token }, delivery));
        }
        let backoff_skipped = std::mem::take(&mut subscription.backoff_skipped);
        let (settings, eventarc) = (Arc::clone(&subscription.settings), subscription.eventarc);
        self.arm(name);
        Ok(PulledMessages { deliveries, settings, eventarc, backoff_skipped })
    }

    /// Ends every backoff of this subscription: failed messages are delivered again at once.
    pub(crate) fn skip_backoff(&mut self, name: &str) -> Result<(), Status> {
        let subscription = self.subscription_mut(name)?;
        subscription.queue.skip_backoff();
        subscription.backoff_skipped = true;
        subscription.wake.notify_waiters();
        Ok(())
    }

    /// What this subscriber holds.
    pub(crate) fn outstanding(&self, name: &str, subscriber: u64) -> Outstanding {
        self.subscriptions.get(name).map(|subscription| subscription.queue.outstanding(subscriber)).unwrap_or_default()
    }

    /// Whether an acknowledgement of this subscription's messages holds for good once it is answered.
    pub(crate) fn exactly_once(&self, name: &str) -> bool {
        self.subscriptions.get(name).is_some_and(|subscription| subscription.queue.config().exactly_once)
    }

    /// How many messages of a subscription are not acknowledged.
    pub(crate) fn backlog(&self, name: &str) -> Option<usize> {
        Some(self.subscriptions.get(name)?.queue.len())
    }

    /// Notified when a subscription may have messages to take or changed settings to follow.
    pub(crate) fn wake(&self, name: &str) -> Result<Arc<Notify>, Status> {
        Kind::Subscription.check(name)?;
        Ok(Arc::clone(&self.subscription(name)?.wake))
    }
}
