//! The trace of a request's event.

use axum::http::HeaderMap;

use crate::pipeline::TraceContext;

/// What the request says about the trace of its event.
pub(super) fn trace_context(headers: &HeaderMap) -> TraceContext<'_> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext { traceparent: text("traceparent"), cloud_trace: text("x-cloud-trace-context") }
}
