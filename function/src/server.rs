//! HTTP: routes, limits, health, drain.
//!
//! Layout:
//! - `answer`: the one table from outcome to status, and every body that is sent
//! - `body`: reading bodies within bounds
//! - `connections`: accepting, time-outs, drain
//! - `flow`: one message's way from event to outcome

mod answer;
mod body;
mod connections;
mod flow;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use answer::{Problem, Reply};
pub(crate) use body::Bodies;
pub(crate) use connections::{DRAIN_TIME, serve};
pub(crate) use flow::Flow;

use crate::Message;
use crate::auth::Refused;
use crate::event::{EventError, Incoming, decode};

/// The forms of events that `POST /` takes, for the page.
const FORMS: [&str; 5] = [
    "CloudEvents binary mode",
    "CloudEvents structured mode",
    "CloudEvents batch",
    "Pub/Sub push, wrapped",
    "Pub/Sub push, unwrapped",
];

/// Events of a batch that are at work at once: a full batch of short texts, so that a request of many events need not fit into the
/// queue.
const EVENTS_AT_ONCE: usize = 256;

pub(crate) fn router(flow: Arc<Flow>) -> Router {
    Router::new()
        .route("/", post(events).get(page))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here; events are posted to /")
                .into_response()
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "events are sent with POST to /")
                .into_response()
        })
        .with_state(flow)
}

async fn live(State(flow): State<Arc<Flow>>) -> Response {
    if flow.batcher.is_live() {
        "live\n".into_response()
    } else {
        let detail = "tasks hang; only a new process can run them";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "tasks-hang", detail).into_response()
    }
}

async fn ready(State(flow): State<Arc<Flow>>) -> Response {
    if flow.is_ready() {
        "ready\n".into_response()
    } else {
        let detail = "the model has not run yet, or this instance is shutting down";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail).into_response()
    }
}

async fn metrics(State(flow): State<Arc<Flow>>, headers: HeaderMap) -> Response {
    // The text is valid in both formats; who does not ask for the newer one gets the name of the older.
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let kind = if accepted.is_some_and(|kinds| kinds.contains("application/openmetrics-text")) {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, kind)], flow.metrics.text()).into_response()
}

async fn page(State(flow): State<Arc<Flow>>) -> Response {
    axum::Json(serde_json::json!({
        "service": flow.service_name(),
        "version": env!("CARGO_PKG_VERSION"),
        "tasks": flow.task_names(),
        "model": flow.model,
        "forms": FORMS,
    }))
    .into_response()
}

async fn events(State(flow): State<Arc<Flow>>, request: Request) -> Response {
    if flow.is_draining() {
        let detail = "this instance is shutting down; another one takes the event";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail).into_response();
    }
    let (parts, mut body) = request.into_parts();
    // Whoever may not call costs no memory.
    let admitted = match allowed(&flow, &parts.headers).await {
        Ok(()) => not_encoded(&parts.headers),
        refused => refused,
    };
    let refused = match admitted {
        Ok(()) => match flow.bodies.read(&mut body).await {
            Ok((body, _held)) => match decode(&parts.headers, body) {
                Ok(Incoming::One(message)) => return flow.answer(&parts.headers, &message).await.into_response(),
                Ok(Incoming::Batch(events)) => return answer_batch(&flow, &parts.headers, events).await,
                Err(error) => Problem::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()),
            },
            Err(problem) => problem,
        },
        Err(problem) => problem,
    };
    // Who waits for `100 Continue` sends nothing now, and reading would ask for it.
    if !parts.headers.contains_key(header::EXPECT) {
        body::discard(body);
    }
    flow.metrics.refused(refused.status().as_u16());
    tracing::warn!(status = refused.status().as_u16(), detail = refused.detail(), "refused request");
    refused.into_response()
}

async fn allowed(flow: &Flow, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(auth) = &flow.auth else { return Ok(()) };
    auth.check(headers).await.map_err(|refused| match refused {
        Refused::Unauthorized(why) => Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", why),
        Refused::Forbidden(why) => Problem::new(StatusCode::FORBIDDEN, "forbidden", why),
        Refused::Unavailable => {
            let why = "callers cannot be checked at the moment; send it again later";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-keys", why)
        }
    })
}

/// Refuses a body in a content coding: what it means is known only when it is decoded, and its length only then.
#[allow(clippy::result_large_err)] // made once a request, and then answered with
fn not_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let Some(coding) = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")) else {
        return Ok(());
    };
    let coding: String = String::from_utf8_lossy(coding).chars().filter(|c| !c.is_control()).take(40).collect();
    let detail =
        format!("expected a body without a content encoding (`identity`), found `{coding}`; send it uncompressed");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", detail))
}

/// One answer for all events. The first refusal by the full queue refuses the whole batch at once: its sender sends all of it
/// again, so nothing is gained by waiting for the others, and those that wait leave the queue.
async fn answer_batch(flow: &Flow, headers: &HeaderMap, events: Vec<Result<Message, EventError>>) -> Response {
    let id = |event: &Result<Message, EventError>| match event {
        Ok(message) => Some(message.id.clone()),
        Err(error) => error.event_id().map(str::to_owned),
    };
    let ids: Vec<_> = events.iter().map(id).collect();
    let answers = events.into_iter().enumerate().map(|(place, event)| async move {
        let reply = match event {
            Ok(message) => flow.answer(headers, &message).await,
            Err(error) => {
                tracing::warn!(message_id = error.event_id(), detail = %error, "refused event");
                let problem = Problem::new(StatusCode::BAD_REQUEST, error.code(), error.to_string());
                Reply::refused(problem.of_event(&error))
            }
        };
        if reply.status() == StatusCode::TOO_MANY_REQUESTS { Err(reply) } else { Ok((place, reply)) }
    });
    // In whatever order they end: a refusal must not wait for the answers before it.
    match stream::iter(answers).buffer_unordered(EVENTS_AT_ONCE).try_collect::<Vec<_>>().await {
        Ok(mut replies) => {
            replies.sort_unstable_by_key(|(place, _)| *place);
            answer::batch(replies.into_iter().map(|(_, reply)| reply).collect())
        }
        Err(refusal) => {
            flow.metrics.refused(StatusCode::TOO_MANY_REQUESTS.as_u16());
            tracing::warn!(events = ids.len(), "refused batch");
            answer::batch(ids.into_iter().map(|id| refusal.again(id)).collect())
        }
    }
}

/// JSON bytes as a response body, with room for the headers of a CloudEvent.
fn json(status: StatusCode, kind: &'static str, body: Bytes) -> Response {
    let mut headers = HeaderMap::with_capacity(10);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests;
