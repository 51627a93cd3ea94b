//! The table from outcome to HTTP, and the bodies of answers.
//!
//! | outcome | status |
//! |---|---|
//! | Done | 200 with the result as a CloudEvent if `response` is among the results, else 204 |
//! | Rejected, and in the dead-letter topic | 200 |
//! | Rejected, no dead-letter topic | 422 |
//! | Retry | 503 |
//! | Overloaded | 429 |
//!
//! Pub/Sub takes 102, 200, 201, 202 and 204 as acknowledgements and delivers again after any other status.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::json;
use crate::event::EventError;
use crate::{Outcome, TaskResult};

/// An error body after RFC 9457.
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
    /// Of an entry of a batch: its place, from 0.
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
    pub(super) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            // What the sender may expect of another try.
            outcome: match status.as_u16() {
                429 => "overloaded",
                408 | 500.. => "retry",
                _ => "rejected",
            },
            message_id: None,
            index: None,
            retry_after: None,
        }
    }

    /// Says of which event of a batch it is.
    pub(super) fn of_event(self, error: &EventError) -> Self {
        Self { message_id: error.event_id().map(str::to_owned), ..self }
    }

    /// Says when another try makes sense.
    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = json(self.status, "application/problem+json", body.into());
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs_f64().ceil() as u64;
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        // What is taken, after RFC 9110, section 15.5.16.
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer to one message.
pub(super) enum Reply {
    /// The work is done and the body is not asked for.
    Empty,
    /// The result, as a CloudEvent in binary mode.
    Result {
        id: String,
        source: String,
        kind: String,
        time: String,
        body: Bytes,
    },
    Problem(Problem),
}

impl Reply {
    /// `dead_lettered`: a rejected message is in the dead-letter topic.
    pub(super) fn new(outcome: Outcome, message_id: &str, dead_lettered: bool) -> Self {
        let word = outcome.word();
        let (status, reason, detail, retry_after) = match outcome {
            Outcome::Done(_) => return Self::Empty,
            Outcome::Rejected { reason, detail } if dead_lettered => (StatusCode::OK, reason, detail, None),
            Outcome::Rejected { reason, detail } => (StatusCode::UNPROCESSABLE_ENTITY, reason, detail, None),
            Outcome::Retry { detail, after } => (StatusCode::SERVICE_UNAVAILABLE, "retry", detail, after),
            Outcome::Overloaded { after } => {
                let detail = "the queue is full; send it again later".to_owned();
                (StatusCode::TOO_MANY_REQUESTS, "overloaded", detail, Some(after))
            }
        };
        let mut problem = Problem::new(status, reason, detail);
        if status == StatusCode::OK {
            problem.title = "Rejected and dead-lettered";
        }
        problem.outcome = word;
        problem.message_id = Some(message_id.to_owned());
        problem.retry_after = retry_after;
        Self::Problem(problem)
    }

    pub(super) fn result(result: &TaskResult<'_>) -> Self {
        Self::Result {
            id: result.key.clone().into_owned(),
            source: result.source(),
            kind: result.kind(),
            time: result.time.clone(),
            body: result.body.clone(),
        }
    }

    pub(super) fn refused(problem: Problem) -> Self {
        Self::Problem(problem)
    }

    /// The same problem for another message.
    pub(super) fn again(&self, message_id: Option<String>) -> Self {
        match self {
            Self::Problem(problem) => Self::Problem(Problem { message_id, ..problem.clone() }),
            _ => Self::Empty,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Empty => StatusCode::NO_CONTENT,
            Self::Result { .. } => StatusCode::OK,
            Self::Problem(problem) => problem.status,
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Empty => StatusCode::NO_CONTENT.into_response(),
            Self::Problem(problem) => problem.into_response(),
            Self::Result { id, source, kind, time, body } => {
                let mut response = json(StatusCode::OK, "application/json", body);
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

/// One entry an event: a result as a structured CloudEvent, or a problem. The status is 200 when every event is done or
/// dead-lettered, else that of the worst outcome.
pub(super) fn batch(mut replies: Vec<Reply>) -> Response {
    for (place, reply) in replies.iter_mut().enumerate() {
        if let Reply::Problem(problem) = reply {
            problem.index = Some(place);
        }
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Entry<'a> {
        Done {
            outcome: &'static str,
        },
        Result {
            specversion: &'static str,
            id: &'a str,
            source: &'a str,
            #[serde(rename = "type")]
            kind: &'a str,
            time: &'a str,
            datacontenttype: &'static str,
            data: &'a RawValue,
        },
        Problem(&'a Problem),
    }
    // Retrying helps the passing ones, and must not be lost behind a rejection; a full queue is for the sender to see first.
    const WORST: [u16; 4] = [429, 503, 422, 400];
    let status = WORST
        .into_iter()
        .find(|code| replies.iter().any(|reply| reply.status().as_u16() == *code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::OK);
    let entries: Vec<Entry<'_>> = replies
        .iter()
        .map(|reply| match reply {
            Reply::Empty => Entry::Done { outcome: "done" },
            Reply::Problem(problem) => Entry::Problem(problem),
            Reply::Result { id, source, kind, time, body } => match serde_json::from_slice(body) {
                Ok(data) => Entry::Result {
                    specversion: "1.0",
                    id,
                    source,
                    kind,
                    time,
                    datacontenttype: "application/json",
                    data,
                },
                Err(_) => Entry::Done { outcome: "done" },
            },
        })
        .collect();
    let body = serde_json::to_vec(&entries).unwrap_or_default();
    let mut response = json(status, "application/json", body.into());
    let longest = replies.iter().filter_map(|reply| match reply {
        Reply::Problem(problem) => problem.retry_after,
        _ => None,
    });
    if let Some(after) = longest.max() {
        response.headers_mut().insert(header::RETRY_AFTER, (after.as_secs_f64().ceil() as u64).into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Reply::new(outcome, "1", dead_lettered).status().as_u16(), status);
        }
    }

    #[test]
    fn a_batch_has_the_worst_status_and_the_longest_wait() {
        let done = || Reply::new(Outcome::Done(Bytes::new()), "1", false);
        let full = |s| Reply::new(Outcome::Overloaded { after: Duration::from_secs(s) }, "2", false);
        assert_eq!(batch(vec![done(), done()]).status(), 200);
        let response = batch(vec![
            done(),
            Reply::new(Outcome::rejected("r", "d"), "3", false),
            full(2),
            full(7),
            Reply::new(Outcome::retry("d"), "4", false),
        ]);
        assert_eq!((response.status().as_u16(), response.headers()["retry-after"].as_bytes()), (429, &b"7"[..]));
    }
}
