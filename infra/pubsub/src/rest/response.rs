//! Responses: bodies in the form of Google's, and the statuses of refusals.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::error::{ERROR_INFO, reasons};

pub(super) fn page_of<T: Serialize>(name: &str, items: Vec<T>, next_page_token: String) -> Value {
    let mut page = serde_json::Map::new();
    if !items.is_empty() {
        page.insert(name.into(), json!(items));
    }
    if !next_page_token.is_empty() {
        page.insert("nextPageToken".into(), next_page_token.into());
    }
    page.into()
}

pub(super) fn answer(body: &impl Serialize) -> Response {
    respond(StatusCode::OK, body)
}

/// Indents the body as Google does.
fn respond(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(body) {
        Ok(mut text) => {
            text.push(b'\n');
            (status, [(header::CONTENT_TYPE, "application/json; charset=UTF-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

pub(crate) fn refusal(status: &Status) -> Response {
    let (code, name) = http_of(status.code());
    let mut error = json!({"code": code.as_u16(), "message": status.message(), "status": name});
    if let Some(info) = reasons(status) {
        error["details"] = json!([{
            "@type": ERROR_INFO, "reason": info.reason, "domain": info.domain, "metadata": info.metadata,
        }]);
    }
    respond(code, &json!({"error": error}))
}

/// The only table from gRPC codes to HTTP statuses, after `google/rpc/code.proto`.
fn http_of(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::Ok => (StatusCode::OK, "OK"),
        Code::Cancelled => (StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST), "CANCELLED"),
        Code::Unknown => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
        Code::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Code::AlreadyExists => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        Code::FailedPrecondition => (StatusCode::BAD_REQUEST, "FAILED_PRECONDITION"),
        Code::Aborted => (StatusCode::CONFLICT, "ABORTED"),
        Code::OutOfRange => (StatusCode::BAD_REQUEST, "OUT_OF_RANGE"),
        Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Code::DataLoss => (StatusCode::INTERNAL_SERVER_ERROR, "DATA_LOSS"),
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
    }
}
