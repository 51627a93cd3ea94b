//! The four outcomes of a message.
//!
//! | outcome | when | what Pub/Sub does |
//! |---|---|---|
//! | [`Done`](Outcome::Done) | the result is delivered | nothing more: the message is acknowledged |
//! | [`Retry`](Outcome::Retry) | a passing fault, or one of ours: a key, a quota | redelivers with backoff |
//! | [`Overloaded`](Outcome::Overloaded) | the queue is full | redelivers with backoff, and slows down |
//! | [`Rejected`](Outcome::Rejected) | it can never succeed | nothing more, once it is dead-lettered |
//!
//! Outcomes know nothing of HTTP: [`http::status`](crate::http::status) has the one table from outcome to status.

use std::time::Duration;

use bytes::Bytes;

/// What a message ends with, after its task or before it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The work is done; the result is JSON text.
    Done(Bytes),
    /// A passing fault: the message is redelivered.
    Retry {
        /// What failed, for the log and the response; no internals.
        detail: String,
        /// When another try makes sense.
        after: Option<Duration>,
    },
    /// The queue is full: the message is redelivered, and the sender slows down.
    Overloaded {
        /// When the queue is expected to have capacity again.
        after: Duration,
    },
    /// It can never succeed: it goes to the dead-letter topic.
    Rejected {
        /// A stable word for programs: `bad-payload`, `unknown-task`, ….
        reason: &'static str,
        /// A sentence for people: what is wrong and what would be right.
        detail: String,
    },
}

impl Outcome {
    /// A rejection with its stable reason and a sentence for people.
    pub fn rejected(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::Rejected { reason, detail: detail.into() }
    }

    /// A passing fault, without a time for the next try.
    pub fn retry(detail: impl Into<String>) -> Self {
        Self::Retry { detail: detail.into(), after: None }
    }

    /// The outcome's name in logs, metrics and responses.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Retry { .. } => "retry",
            Self::Overloaded { .. } => "overloaded",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// What went wrong, if anything did.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Done(_) => None,
            Self::Retry { detail, .. } | Self::Rejected { detail, .. } => Some(detail),
            Self::Overloaded { .. } => Some("the queue is full"),
        }
    }
}
