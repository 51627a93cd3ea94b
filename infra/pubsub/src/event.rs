//! What happens to messages, for those who watch.

use std::sync::Arc;

use super::message::Message;
use super::time::Time;

/// Something that happened to a message.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened.
    pub time: Time,
    /// The message that it happened to.
    pub message: Arc<Message>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a message. Topics and subscriptions are full names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A topic took the message.
    Published {
        /// The topic.
        topic: Arc<str>,
    },
    /// A subscription's filter does not match the message; the subscription does not get it.
    Filtered {
        /// The subscription.
        subscription: Arc<str>,
    },
    /// A subscriber got the message, by pull or push.
    Delivered {
        /// The subscription.
        subscription: Arc<str>,
        /// 1 for the first delivery, then one more for each that was nacked or not acknowledged in time.
        attempt: u32,
    },
    /// The subscriber acknowledged the message.
    Acked {
        /// The subscription.
        subscription: Arc<str>,
    },
    /// The subscriber nacked the message. It is redelivered, unless it is dead-lettered next.
    Nacked {
        /// The subscription.
        subscription: Arc<str>,
        /// Why it was nacked.
        reason: NackReason,
    },
    /// The message's acknowledgement deadline passed. It is redelivered, unless it is dead-lettered next.
    Expired {
        /// The subscription.
        subscription: Arc<str>,
    },
    /// The message's last attempt failed, and it was forwarded to the dead-letter topic.
    DeadLettered {
        /// The subscription.
        subscription: Arc<str>,
        /// The dead-letter topic.
        topic: Arc<str>,
        /// How often the message was delivered.
        attempts: u32,
    },
    /// The message was not acknowledged before the subscription's retention ended, and is gone.
    Discarded {
        /// The subscription.
        subscription: Arc<str>,
    },
}

/// Why a delivery was nacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NackReason {
    /// A pull subscriber set the acknowledgement deadline to zero.
    Subscriber,
    /// The push endpoint answered with this HTTP status.
    Status(u16),
    /// The push endpoint did not answer, for this reason.
    NoResponse(Arc<str>),
}
