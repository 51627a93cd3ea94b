//! Deliveries: what subscribers ask for, what they get, and how a delivery ends.

use std::sync::Arc;
use std::time::Duration;

use crate::message::Message;

/// How much a subscriber takes at once, and on which terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PullRequest {
    pub(crate) max_messages: usize,
    /// The first message is delivered even if it is larger.
    pub(crate) max_bytes: usize,
    /// The subscriber: a number that no other one has.
    pub(crate) subscriber: u64,
    /// How long the subscriber has the messages; `None` is the subscription's acknowledgement deadline.
    pub(crate) lease: Option<Duration>,
    /// Whether several messages of one ordering key may be outstanding at once.
    pub(crate) many_per_key: bool,
}

/// One delivery. The message's number and `token` make up its acknowledgement id.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    pub(crate) token: u64,
    /// 1 for the first delivery of the message.
    pub(crate) attempt: u32,
}

/// A message whose deliveries failed, and how often they did.
#[derive(Clone, Debug)]
pub(crate) struct FailedMessage {
    pub(crate) message: Arc<Message>,
    pub(crate) failures: u32,
}

/// What follows from a delivery that was nacked or not acknowledged in time.
#[derive(Clone, Debug)]
pub(crate) enum NackOutcome {
    /// The message will be delivered again.
    Redeliver(Arc<Message>),
    /// The message has left the queue: forward it to the dead-letter topic.
    DeadLetter(FailedMessage),
}

impl NackOutcome {
    pub(crate) fn message(&self) -> &Arc<Message> {
        match self {
            Self::Redeliver(message) | Self::DeadLetter(FailedMessage { message, .. }) => message,
        }
    }

    /// The message, if it has to be forwarded.
    pub(crate) fn dead_letter(self) -> Option<FailedMessage> {
        match self {
            Self::Redeliver(_) => None,
            Self::DeadLetter(failed) => Some(failed),
        }
    }
}

/// What happened while time passed.
#[derive(Debug, Default)]
pub(crate) struct Elapsed {
    /// Deliveries whose acknowledgement deadline passed.
    pub(crate) expired: Vec<NackOutcome>,
    /// Unacknowledged messages whose retention is over.
    pub(crate) discarded: Vec<Arc<Message>>,
    /// Whether there are messages to deliver.
    pub(crate) ready: bool,
}

/// The acknowledgement id is of a delivery that is over. An error with exactly-once delivery only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StaleAckIdError;

/// What a subscriber holds and has not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}
