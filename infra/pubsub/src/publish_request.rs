//! Checks of publish requests, against the limits of <https://cloud.google.com/pubsub/quotas#resource_limits>.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use prost::Message as _;
use tonic::Status;

use super::error::invalid;
use infra::limits::{MAX_ATTRIBUTES, MAX_DATA, MAX_NAME, MAX_ORDERING_KEY, MAX_VALUE, is_reserved};

const MAX_REQUEST_BYTES: usize = 10 << 20;
const MAX_MESSAGES: usize = 1000;

/// # Errors
/// INVALID_ARGUMENT that names the limit.
pub(super) fn check(request: &pb::PublishRequest) -> Result<(), Status> {
    let count = request.messages.len();
    if count == 0 {
        return Err(invalid(
            "The value for message_count is too small. You passed 0 in the request, but the minimum value is 1.",
        ));
    }
    if count > MAX_MESSAGES {
        return Err(too_large("message_count", count, MAX_MESSAGES));
    }
    if request.encoded_len() > MAX_REQUEST_BYTES {
        return Err(invalid(format!("Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")));
    }
    request.messages.iter().try_for_each(check_message)
}

fn check_message(message: &pb::PubsubMessage) -> Result<(), Status> {
    if message.data.is_empty() && message.attributes.is_empty() {
        return Err(invalid(
            "One or more messages in the publish request is empty. Each message must contain either non-empty data, or at \
             least one attribute.",
        ));
    }
    if message.data.len() > MAX_DATA {
        return Err(too_large("message_size", message.data.len(), MAX_DATA));
    }
    if message.attributes.len() > MAX_ATTRIBUTES {
        return Err(too_large("attribute_count", message.attributes.len(), MAX_ATTRIBUTES));
    }
    for (key, value) in &message.attributes {
        if key.is_empty() || is_reserved(key) {
            return Err(invalid(format!(
                "Invalid attribute key given (key={key}): it must not be empty or begin with \"goog\", which is \
                 reserved."
            )));
        }
        if key.len() > MAX_NAME {
            return Err(too_large("attribute_key_size", key.len(), MAX_NAME));
        }
        if value.len() > MAX_VALUE {
            return Err(too_large("attribute_value_size", value.len(), MAX_VALUE));
        }
    }
    if message.ordering_key.len() > MAX_ORDERING_KEY {
        return Err(too_large("ordering_key_size", message.ordering_key.len(), MAX_ORDERING_KEY));
    }
    Ok(())
}

fn too_large(what: &str, passed: usize, most: usize) -> Status {
    invalid(format!(
        "The value for {what} is too large. You passed {passed} in the request, but the maximum value is {most}."
    ))
}
