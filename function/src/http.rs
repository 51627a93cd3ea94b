//! HTTP: the only transport, and the only module, that knows requests, responses and statuses.
//!
//! | request | response |
//! |---|---|
//! | `POST /` | the outcome of the event, or of every event of a batch, see [`status`] |
//! | `GET /` | a JSON page with service, version, tasks, model and the forms of events |
//! | `GET /health/live` | 200, or 503 when tasks hang and only a new process can run them |
//! | `GET /health/ready` | 200, or 503 until the model has run once and while the process shuts down |
//! | `GET /metrics` | Prometheus text |
//!
//! # Layout
//!
//! - [`status`]: the one table from outcome or error to status
//! - `error`: why a request is refused, without its status
//! - `response`, `problem`, `json`: what is sent for one message, and the error body of RFC 9457
//! - `batch`: a CloudEvents batch, and its one response
//! - `body`: reading bodies within bounds of length, time and memory
//! - `caller`: the identity token of a request
//! - `trace_context`: the trace that a request names
//! - `health`, `readiness`: liveness and readiness
//! - `connections`: accepting, time-outs, graceful end
//! - `app`: what the handlers share

mod app;
mod batch;
mod body;
mod caller;
mod connections;
mod error;
mod health;
mod json;
mod problem;
mod readiness;
mod response;
pub mod status;
mod trace_context;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::event::{Incoming, decode};
use crate::pipeline::WhenFull;
pub(crate) use app::App;
pub(crate) use body::BodyBudget;
use body::BodyPermit;
pub(crate) use connections::serve;
use error::RequestError;
use problem::Problem;
pub(crate) use readiness::Readiness;
use response::EventResponse;
use trace_context::trace_context;

/// The forms of events that `POST /` takes, for the page.
const EVENT_FORMS: [&str; 5] = [
    "CloudEvents binary mode",
    "CloudEvents structured mode",
    "CloudEvents batch",
    "Pub/Sub push, wrapped",
    "Pub/Sub push, unwrapped",
];

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", post(events).get(page))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::from(RequestError::NotFound).into_response() })
        .method_not_allowed_fallback(|| async { Problem::from(RequestError::MethodNotAllowed).into_response() })
        .with_state(app)
}

async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    // The text is valid in both formats; a client that does not ask for the newer one gets the name of the older.
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let kind = if accepted.is_some_and(|kinds| kinds.contains("application/openmetrics-text")) {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, kind)], app.pipeline.metrics.text()).into_response()
}

async fn page(State(app): State<Arc<App>>) -> Response {
    axum::Json(serde_json::json!({
        "service": app.pipeline.service_name(),
        "version": env!("CARGO_PKG_VERSION"),
        "tasks": app.pipeline.task_names(),
        "model": app.model,
        "forms": EVENT_FORMS,
    }))
    .into_response()
}

async fn events(State(app): State<Arc<App>>, request: Request) -> Response {
    if app.readiness.is_draining() {
        return Problem::from(RequestError::Draining).into_response();
    }
    let (parts, mut body) = request.into_parts();
    let headers = &parts.headers;
    let refused = match receive(&app, headers, &mut body).await {
        // The permit is held until the response is made.
        Ok((Incoming::One(message), _permit)) => {
            let processed = app.pipeline.process(&message, trace_context(headers), WhenFull::Refuse).await;
            return EventResponse::new(processed, &message.id).into_response();
        }
        Ok((Incoming::Batch(events), _permit)) => return batch::respond(&app, headers, events).await,
        Err(error) => Problem::from(error),
    };
    // A client that waits for `100 Continue` sends nothing now, and reading would ask for it.
    if !headers.contains_key(header::EXPECT) {
        body::discard(body);
    }
    app.pipeline.metrics.refused(refused.status().as_u16());
    tracing::warn!(status = refused.status().as_u16(), detail = refused.detail(), "refused request");
    refused.into_response()
}

/// The events of a request. The caller is checked first, so that a caller who is refused costs no memory.
async fn receive(
    app: &App,
    headers: &HeaderMap,
    body: &mut axum::body::Body,
) -> Result<(Incoming, BodyPermit), RequestError> {
    caller::check(app.auth.as_ref(), headers).await?;
    body::check_encoding(headers)?;
    let (body, permit) = app.body_budget.read(body).await?;
    Ok((decode(headers, body)?, permit))
}

#[cfg(test)]
mod tests;
