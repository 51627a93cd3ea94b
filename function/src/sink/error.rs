//! Why a result or a dead letter was not delivered.

use crate::Outcome;

/// A result or dead letter did not reach its destination. The text is for the log; [`outcome`](Self::outcome) is for
/// the sender.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SinkError {
    /// Another try may succeed: no connection, a deadline passed, and also a missing topic or permission, which an
    /// operator puts right without touching the message.
    #[error("cannot deliver to {destination}: {detail}")]
    Passing {
        /// The topic or bucket.
        destination: String,
        /// Why, with causes.
        detail: String,
    },
    /// The same data will be refused each time.
    #[error("{destination} cannot take it ({reason}): {detail}")]
    Permanent {
        /// The topic or bucket.
        destination: String,
        /// A stable word for programs: `result-too-large`, `result-refused`.
        reason: &'static str,
        /// What is wrong and what would be right; no internals.
        detail: String,
    },
}

impl SinkError {
    /// The outcome of the message: [`Outcome::Retry`] for a passing fault, without internals, and [`Outcome::Rejected`]
    /// for a permanent one.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Passing { .. } => Outcome::retry("the result could not be delivered; it will be tried again"),
            Self::Permanent { reason, detail, .. } => Outcome::rejected(reason, detail.as_str()),
        }
    }
}
