//! Error bodies after RFC 9457.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::RequestError;
use super::json_response::json_response;
use super::retry_after::set_retry_after;
use super::status;
use crate::Outcome;

/// An error body, and the headers that belong to its status.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    /// `about:blank` would do; a stable word tells programs more.
    #[serde(rename = "type", serialize_with = "problem_type")]
    reason: &'static str,
    title: &'static str,
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    detail: String,
    outcome: &'static str,
    /// `null` where no message could be read, or one without an id.
    message_id: Option<String>,
    /// The position of the event in its batch, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

fn problem_type<S: serde::Serializer>(reason: &&'static str, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("urn:ai-workloads:problem:{reason}"))
}

fn status_number<S: serde::Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

impl Problem {
    /// The problem of a message that is not done; `None` for one that is.
    pub(super) fn of_outcome(outcome: Outcome, message_id: &str, dead_lettered: bool) -> Option<Self> {
        let status = status::of_outcome(&outcome, dead_lettered, false);
        let (reason, word) = (status::reason_of_outcome(&outcome), outcome.as_str());
        let (detail, retry_after) = match outcome {
            Outcome::Done(_) => return None,
            Outcome::Rejected { detail, .. } => (detail, None),
            Outcome::Retry { detail, after } => (detail, after),
            Outcome::Overloaded { after } => ("the queue is full; send it again later".to_owned(), Some(after)),
        };
        let title = if dead_lettered { "Rejected and dead-lettered" } else { title(status) };
        Some(Self {
            reason,
            title,
            status,
            detail,
            outcome: word,
            message_id: Some(message_id.to_owned()),
            index: None,
            retry_after,
        })
    }

    /// The same problem for another message.
    pub(super) fn for_message(&self, message_id: Option<String>) -> Self {
        Self { message_id, ..self.clone() }
    }

    pub(super) fn set_index(&mut self, index: usize) {
        self.index = Some(index);
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// When another try makes sense.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let (status, reason) = status::of_request(&error);
        let message_id = match &error {
            RequestError::Event(error) => error.event_id().map(str::to_owned),
            _ => None,
        };
        Self {
            reason,
            title: title(status),
            status,
            detail: error.to_string(),
            outcome: status::outcome_of_request(status),
            message_id,
            index: None,
            retry_after: error.retry_after(),
        }
    }
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = json_response(self.status, "application/problem+json", body.into());
        set_retry_after(&mut response, self.retry_after);
        // The encodings that are accepted, after RFC 9110, section 15.5.16.
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
