//! What happens to messages, for those who watch.

use std::sync::Arc;

use super::message::Message;
use super::time::Time;

/// Something that happened to a message.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: Time,
    /// The message.
    pub message: Arc<Message>,
    /// What.
    pub what: What,
}

/// What happened to a message. Topics and subscriptions are full names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A topic took it.
    Published {
        /// The topic.
        topic: Arc<str>,
    },
    /// A subscription's filter let it pass by.
    Filtered {
        /// The subscription.
        subscription: Arc<str>,
    },
    /// It was handed to a subscriber, by pull or push.
    Delivered {
        /// The subscription.
        subscription: Arc<str>,
        /// 1 for the first delivery, then one more for each that was refused or not acknowledged in time.
        attempt: u32,
    },
    /// The subscriber acknowledged it.
    Acked {
        /// The subscription.
        subscription: Arc<str>,
    },
    /// The subscriber refused it; it comes again.
    Nacked {
        /// The subscription.
        subscription: Arc<str>,
        /// Why.
        cause: Cause,
    },
    /// The deadline for its acknowledgement passed; it comes again.
    Expired {
        /// The subscription.
        subscription: Arc<str>,
    },
    /// Its last attempt failed, and it was forwarded to the dead-letter topic.
    DeadLettered {
        /// The subscription.
        subscription: Arc<str>,
        /// The dead-letter topic.
        topic: Arc<str>,
        /// How often it was delivered.
        attempts: u32,
    },
    /// It was never acknowledged, and the subscription's retention is over.
    Discarded {
        /// The subscription.
        subscription: Arc<str>,
    },
}

/// Why a delivery was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A pull subscriber set its deadline to zero.
    Subscriber,
    /// The push endpoint answered with this status.
    Status(u16),
    /// The push endpoint did not answer, for this reason.
    Unanswered(Arc<str>),
}
