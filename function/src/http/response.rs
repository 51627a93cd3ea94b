//! What is sent for one message: its result, a problem, or nothing.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::error::RequestError;
use super::json_response::json_response;
use super::problem::Problem;
use super::status;
use crate::pipeline::{Processed, ResultEvent};

/// The response to one message.
pub(super) struct EventResponse {
    status: StatusCode,
    content: Content,
}

pub(super) enum Content {
    /// The work is done and the response is not among the destinations.
    Empty,
    /// The result, as a CloudEvent in binary mode.
    Result(ResultEvent),
    Problem(Problem),
}

impl EventResponse {
    pub(super) fn new(processed: Processed, message_id: &str) -> Self {
        let Processed { outcome, dead_lettered, response } = processed;
        let status = status::of_outcome(&outcome, dead_lettered, response.is_some());
        let content = match response {
            Some(result) => Content::Result(result),
            None => Problem::of_outcome(outcome, message_id, dead_lettered).map_or(Content::Empty, Content::Problem),
        };
        Self { status, content }
    }

    /// The same problem for another message of its batch.
    pub(super) fn for_message(&self, message_id: Option<String>) -> Self {
        let content = match &self.content {
            Content::Problem(problem) => Content::Problem(problem.for_message(message_id)),
            _ => Content::Empty,
        };
        Self { status: self.status, content }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// Says at which position in its batch the event is, from 0.
    pub(super) fn set_index(&mut self, index: usize) {
        if let Content::Problem(problem) = &mut self.content {
            problem.set_index(index);
        }
    }

    /// When another try makes sense.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match &self.content {
            Content::Problem(problem) => problem.retry_after(),
            _ => None,
        }
    }
}

impl From<RequestError> for EventResponse {
    fn from(error: RequestError) -> Self {
        let problem = Problem::from(error);
        Self { status: problem.status(), content: Content::Problem(problem) }
    }
}

impl IntoResponse for EventResponse {
    fn into_response(self) -> Response {
        match self.content {
            Content::Empty => self.status.into_response(),
            Content::Problem(problem) => problem.into_response(),
            Content::Result(ResultEvent { id, source, kind, time, body }) => {
                let mut response = json_response(self.status, "application/json", body);
                for (name, value) in [
                    ("ce-specversion", "1.0".to_owned()),
                    ("ce-id", id),
                    ("ce-source", source),
                    ("ce-type", kind),
                    ("ce-time", time),
                ] {
                    if let Ok(value) = HeaderValue::try_from(header_text(value)) {
                        response.headers_mut().insert(HeaderName::from_static(name), value);
                    }
                }
                response
            }
        }
    }
}

/// A CloudEvents attribute as a header value: percent-encoded as its HTTP binding says, section 3.1.3.2.
fn header_text(value: String) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
    let encoded = match Cow::from(utf8_percent_encode(&value, ENCODED)) {
        Cow::Owned(encoded) => Some(encoded),
        Cow::Borrowed(_) => None,
    };
    encoded.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Outcome;

    #[test]
    fn each_outcome_has_its_status() {
        let rejected = Outcome::rejected("bad-payload", "d");
        for (outcome, dead_lettered, status) in [
            (Outcome::Done(Bytes::new()), false, 204),
            (rejected.clone(), true, 200),
            (rejected, false, 422),
            (Outcome::retry("d"), false, 503),
            (Outcome::Overloaded { after: Duration::from_secs(2) }, false, 429),
        ] {
            let processed = Processed { outcome, dead_lettered, response: None };
            assert_eq!(EventResponse::new(processed, "1").status().as_u16(), status);
        }
    }
}
