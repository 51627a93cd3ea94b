//! What became of a message. Knows nothing of HTTP: `server` holds the one table from outcome to status.

use std::time::Duration;

use bytes::Bytes;

/// The end of one message's way through a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The work is done; the result is JSON text.
    Done(Bytes),
    /// A passing fault: the message comes again.
    Retry {
        /// What failed, for the log and the answer; no internals.
        detail: String,
        /// When another try makes sense.
        after: Option<Duration>,
    },
    /// The queue is full: the message comes again, and the sender slows down.
    Overloaded {
        /// When there may be room.
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

    /// A passing fault without a known time for the next try.
    pub fn retry(detail: impl Into<String>) -> Self {
        Self::Retry { detail: detail.into(), after: None }
    }

    /// The outcome's name, as logs, metrics and answers give it.
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
