//! The handlers of `/health/live` and `/health/ready`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::error::RequestError;
use super::problem::Problem;

pub(super) async fn live(State(app): State<Arc<App>>) -> Response {
    if app.pipeline.batcher.is_live() {
        "live\n".into_response()
    } else {
        Problem::from(RequestError::TasksHang).into_response()
    }
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.readiness.is_ready() {
        "ready\n".into_response()
    } else {
        Problem::from(RequestError::NotReady).into_response()
    }
}
