//! The one table from outcome or error to status. Nothing else decides a status, a problem `type` or the `outcome` of a
//! problem.
//!
//! # Messages
//!
//! | outcome | status |
//! |---|---|
//! | Done | 200 with the result as a CloudEvent if `response` is among the results, else 204 |
//! | Rejected, and in the dead-letter topic | 200 |
//! | Rejected, no dead-letter topic | 422 |
//! | Retry | 503, with `Retry-After` where the outcome has a time |
//! | Overloaded | 429 with `Retry-After` |
//!
//! Pub/Sub takes 102, 200, 201, 202 and 204 as acknowledgements and redelivers after any other status.
//!
//! A CloudEvents batch has one response: 200 when every event is done or dead-lettered, else the status that comes
//! first in the list 429, 503, 422, 400. Retrying helps the passing faults, which must not be lost behind a rejection;
//! and the sender has to see a full queue first.
//!
//! # Requests without a message
//!
//! | request | status | `type` |
//! |---|---|---|
//! | no event in any form | 400 | the reason of the event's error |
//! | a body that breaks off | 400 | `body-unreadable` |
//! | no token, or one that does not count here | 401 | `unauthorized` |
//! | a valid token of another account | 403 | `forbidden` |
//! | an unknown path | 404 | `not-found` |
//! | another method | 405 | `method-not-allowed` |
//! | a body that arrives too slowly | 408 | `body-too-slow` |
//! | a body over `MAX_BODY_BYTES` | 413 | `body-too-large` |
//! | a body in a content encoding | 415 | `unsupported-encoding` |
//! | no memory left for bodies | 429 with `Retry-After` | `overloaded` |
//! | the issuer's keys cannot be fetched | 503 | `no-keys` |
//! | the process shuts down | 503 | `draining` |
//! | `/health/live` when tasks hang | 503 | `tasks-hang` |
//! | `/health/ready` before the first run and while shutting down | 503 | `not-ready` |

use axum::http::StatusCode;

use super::error::RequestError;
use crate::Outcome;
use crate::auth::AuthError;

/// The status of a message's outcome. `responds`: the response has the result as its body.
pub(super) fn of_outcome(outcome: &Outcome, dead_lettered: bool, responds: bool) -> StatusCode {
    match outcome {
        Outcome::Done(_) if responds => StatusCode::OK,
        Outcome::Done(_) => StatusCode::NO_CONTENT,
        Outcome::Rejected { .. } if dead_lettered => StatusCode::OK,
        Outcome::Rejected { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Retry { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Outcome::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
    }
}

/// The last part of the problem `type` of an outcome.
pub(super) fn reason_of_outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Rejected { reason, .. } => reason,
        other => other.as_str(),
    }
}

/// The status and the last part of the problem `type` of a request without a message.
pub(super) fn of_request(error: &RequestError) -> (StatusCode, &'static str) {
    match error {
        RequestError::Event(error) => (StatusCode::BAD_REQUEST, error.code()),
        RequestError::BodyUnreadable => (StatusCode::BAD_REQUEST, "body-unreadable"),
        RequestError::Caller(AuthError::Unauthorized(_)) => (StatusCode::UNAUTHORIZED, "unauthorized"),
        RequestError::Caller(AuthError::Forbidden(_)) => (StatusCode::FORBIDDEN, "forbidden"),
        RequestError::NotFound => (StatusCode::NOT_FOUND, "not-found"),
        RequestError::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
        RequestError::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
        RequestError::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
        RequestError::ContentEncoding { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding"),
        RequestError::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
        RequestError::Caller(AuthError::Unavailable) => (StatusCode::SERVICE_UNAVAILABLE, "no-keys"),
        RequestError::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        RequestError::TasksHang => (StatusCode::SERVICE_UNAVAILABLE, "tasks-hang"),
        RequestError::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
    }
}

/// The member `outcome` of the problem of a request without a message: what its sender may expect of another try.
pub(super) fn outcome_of_request(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "overloaded",
        408 | 500.. => "retry",
        _ => "rejected",
    }
}

/// The status of a batch whose events have these.
pub(super) fn of_batch(events: impl Iterator<Item = StatusCode> + Clone) -> StatusCode {
    const WORST_FIRST: [StatusCode; 4] = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::UNPROCESSABLE_ENTITY,
        StatusCode::BAD_REQUEST,
    ];
    WORST_FIRST.into_iter().find(|worst| events.clone().any(|status| status == *worst)).unwrap_or(StatusCode::OK)
}
