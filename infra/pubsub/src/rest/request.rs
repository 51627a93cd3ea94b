//! Bodies of requests, and refusals of requests to what does not exist.

use axum::http::Method;
use serde::de::DeserializeOwned;
use tonic::Status;

use crate::error::invalid;

/// Reads a body. An empty one is an empty object.
///
/// # Errors
/// INVALID_ARGUMENT for a body that is not the JSON of a `T`.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))
}

pub(super) fn no_method(method: &Method, path: &str) -> Status {
    Status::not_found(format!(
        "There is no method {method} /v1/{path}; the methods are those of \
         https://cloud.google.com/pubsub/docs/reference/rest."
    ))
}

pub(super) fn no_schemas() -> Status {
    Status::unimplemented("This local Pub/Sub has no schemas: topics take messages of any form.")
}
