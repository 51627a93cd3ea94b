//! Why a request is refused before there is a message to process. [`super::status`] gives each its status.

use std::time::Duration;

use crate::auth::AuthError;
use crate::event::EventError;

/// A request without a message to process. The text goes to the client: it says what was expected, and names no
/// internals.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("there is nothing here; events are posted to /")]
    NotFound,
    #[error("events are sent with POST to /")]
    MethodNotAllowed,
    #[error("tasks hang; only a new process can run them")]
    TasksHang,
    #[error("the model has not run yet, or this instance is shutting down")]
    NotReady,
    #[error("this instance is shutting down; another one takes the event")]
    Draining,
    #[error(transparent)]
    Caller(#[from] AuthError),
    #[error("expected a body without a content encoding (`identity`), found `{found}`; send it uncompressed")]
    ContentEncoding { found: String },
    #[error("a body has at most {max_bytes} bytes, and this one has {found}; send large payloads as claim checks")]
    BodyTooLarge { max_bytes: usize, found: String },
    #[error("the body did not arrive within {} s", .0.as_secs())]
    BodyTooSlow(Duration),
    #[error("the body did not arrive whole")]
    BodyUnreadable,
    /// The bodies in flight have used up the memory that is set aside for them.
    #[error("too many requests are in flight; send it again later")]
    TooManyRequests { retry_after: Duration },
    #[error(transparent)]
    Event(#[from] EventError),
}

impl RequestError {
    /// When another try makes sense, where that can be told.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}
