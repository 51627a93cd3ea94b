//! Bounds of gRPC requests and of pulls.

use std::time::Duration;

use tonic::Status;

use crate::error::out_of_bounds;

/// The most bytes of a request: a publish of 10 MB, with something to spare.
pub(super) const MAX_REQUEST_BYTES: usize = 16 << 20;
/// The most messages of one pull response.
pub(super) const MAX_PULL_MESSAGES: usize = 1000;
/// The most bytes of one pull response, unless its first message is larger.
pub(super) const MAX_PULL_BYTES: usize = 3 << 20;

/// How long a subscriber asks to lease a message.
///
/// # Errors
/// INVALID_ARGUMENT for a number of seconds that no lease may have.
pub(super) fn lease(seconds: i32) -> Result<Duration, Status> {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds <= 600 => Ok(Duration::from_secs(seconds)),
        _ => Err(out_of_bounds("ack_deadline_seconds", seconds, "0 to 600")),
    }
}
