//! A CloudEvents batch: many events in one request, one response for all of them.

use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::value::RawValue;

use super::app::App;
use super::error::RequestError;
use super::json_response::json_response;
use super::problem::Problem;
use super::response::{Content, EventResponse};
use super::retry_after::set_retry_after;
use super::status;
use super::trace_context::trace_context;
use crate::event::EventError;
use crate::pipeline::{ResultEvent, WhenFull};
use crate::{Message, Outcome};

/// Events of one batch that are processed at the same time: a full batch of short texts, so that a request of many
/// events need not fit into the queue.
const MAX_EVENTS_IN_FLIGHT: usize = 256;

/// Processes the events. The first event that the full queue refuses ends the request with a refusal of all: its sender
/// sends the whole batch again, so nothing is gained by waiting for the others, and those that wait leave the queue.
pub(super) async fn respond(app: &App, headers: &HeaderMap, events: Vec<Result<Message, EventError>>) -> Response {
    let id = |event: &Result<Message, EventError>| match event {
        Ok(message) => Some(message.id.clone()),
        Err(error) => error.event_id().map(str::to_owned),
    };
    let ids: Vec<_> = events.iter().map(id).collect();
    let trace = trace_context(headers);
    let responses = events.into_iter().enumerate().map(|(index, event)| async move {
        let message = match event {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(message_id = error.event_id(), detail = %error, "refused event");
                return Ok((index, EventResponse::from(RequestError::from(error))));
            }
        };
        let processed = app.pipeline.process(&message, trace, WhenFull::Refuse).await;
        let overloaded = matches!(processed.outcome, Outcome::Overloaded { .. });
        let response = EventResponse::new(processed, &message.id);
        if overloaded { Err(response) } else { Ok((index, response)) }
    });
    // In the order in which they end: a refusal must not wait for the events before it.
    match stream::iter(responses).buffer_unordered(MAX_EVENTS_IN_FLIGHT).try_collect::<Vec<_>>().await {
        Ok(mut responses) => {
            responses.sort_unstable_by_key(|(index, _)| *index);
            combined(responses.into_iter().map(|(_, response)| response).collect())
        }
        Err(refusal) => {
            app.pipeline.metrics.refused(refusal.status().as_u16());
            tracing::warn!(events = ids.len(), "refused batch");
            combined(ids.into_iter().map(|id| refusal.for_message(id)).collect())
        }
    }
}

/// An entry of the response's JSON array.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Done {
        outcome: &'static str,
    },
    /// A CloudEvent in structured mode.
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

impl<'a> Entry<'a> {
    fn of(response: &'a EventResponse) -> Self {
        let done = Self::Done { outcome: "done" };
        let ResultEvent { id, source, kind, time, body } = match response.content() {
            Content::Empty => return done,
            Content::Problem(problem) => return Self::Problem(problem),
            Content::Result(result) => result,
        };
        // A result that is not JSON has no structured form.
        serde_json::from_slice(body).map_or(done, |data| Self::Result {
            specversion: "1.0",
            id,
            source,
            kind,
            time,
            datacontenttype: "application/json",
            data,
        })
    }
}

/// One response for a batch: an entry for each event, in their order, and the longest `Retry-After`.
fn combined(mut responses: Vec<EventResponse>) -> Response {
    for (index, response) in responses.iter_mut().enumerate() {
        response.set_index(index);
    }
    let status = status::of_batch(responses.iter().map(EventResponse::status));
    let entries: Vec<Entry<'_>> = responses.iter().map(Entry::of).collect();
    let body = serde_json::to_vec(&entries).unwrap_or_default();
    let mut response = json_response(status, "application/json", body.into());
    set_retry_after(&mut response, responses.iter().filter_map(EventResponse::retry_after).max());
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::pipeline::Processed;

    #[test]
    fn a_batch_has_the_worst_status_and_the_longest_wait() {
        let response =
            |outcome, id| EventResponse::new(Processed { outcome, dead_lettered: false, response: None }, id);
        let done = || response(Outcome::Done(Bytes::new()), "1");
        let full = |s| response(Outcome::Overloaded { after: Duration::from_secs(s) }, "2");
        assert_eq!(combined(vec![done(), done()]).status(), 200);
        let response = combined(vec![
            done(),
            response(Outcome::rejected("r", "d"), "3"),
            full(2),
            full(7),
            response(Outcome::retry("d"), "4"),
        ]);
        assert_eq!((response.status().as_u16(), response.headers()["retry-after"].as_bytes()), (429, &b"7"[..]));
    }
}
