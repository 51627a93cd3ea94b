//! Responses with a JSON body.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

/// JSON bytes as a response body, with capacity for the headers of a CloudEvent.
pub(super) fn json_response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut headers = HeaderMap::with_capacity(10);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Sets `Retry-After`, rounded up to whole seconds.
pub(super) fn set_retry_after(response: &mut Response, after: Option<Duration>) {
    if let Some(after) = after {
        response.headers_mut().insert(header::RETRY_AFTER, (after.as_secs_f64().ceil() as u64).into());
    }
}
