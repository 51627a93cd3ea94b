//! The header `Retry-After`. How long it asks to wait is decided where a request is refused: by the batcher's queue, by the
//! budget for request bodies, or by the outcome.

use std::time::Duration;

use axum::http::header;
use axum::response::Response;

/// Sets `Retry-After`, rounded up to whole seconds.
pub(super) fn set_retry_after(response: &mut Response, after: Option<Duration>) {
    if let Some(after) = after {
        response.headers_mut().insert(header::RETRY_AFTER, (after.as_secs_f64().ceil() as u64).into());
    }
}
