//! Changes of topics and subscriptions, field by field as the update mask names them.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tonic::Status;

use super::{complete_subscription, complete_topic};
use crate::error::invalid;

/// `current` with the fields of `changed` that `mask` names.
///
/// # Errors
/// INVALID_ARGUMENT for an empty mask, an unknown or immutable field, or a value that is out of bounds.
pub(crate) fn patch_subscription(
    mut current: pb::Subscription,
    changed: pb::Subscription,
    mask: Option<&prost_types::FieldMask>,
) -> Result<pb::Subscription, Status> {
    for path in paths(mask, "UpdateSubscriptionRequest")? {
        match path.as_str() {
            "ack_deadline_seconds" => current.ack_deadline_seconds = changed.ack_deadline_seconds,
            "retain_acked_messages" => current.retain_acked_messages = changed.retain_acked_messages,
            "message_retention_duration" => current.message_retention_duration = changed.message_retention_duration,
            "labels" => current.labels.clone_from(&changed.labels),
            "expiration_policy" => current.expiration_policy = changed.expiration_policy,
            "dead_letter_policy" => current.dead_letter_policy.clone_from(&changed.dead_letter_policy),
            "retry_policy" => current.retry_policy = changed.retry_policy,
            "push_config" => current.push_config.clone_from(&changed.push_config),
            "enable_exactly_once_delivery" => {
                current.enable_exactly_once_delivery = changed.enable_exactly_once_delivery;
            }
            "name" | "topic" | "filter" | "enable_message_ordering" => return Err(immutable("Subscription", path)),
            _ => return Err(unknown("Subscription", path)),
        }
    }
    complete_subscription(current)
}

/// The same for topics.
///
/// # Errors
/// As [`patch_subscription`].
pub(crate) fn patch_topic(
    mut current: pb::Topic,
    changed: pb::Topic,
    mask: Option<&prost_types::FieldMask>,
) -> Result<pb::Topic, Status> {
    for path in paths(mask, "UpdateTopicRequest")? {
        match path.as_str() {
            "labels" => current.labels.clone_from(&changed.labels),
            "message_retention_duration" => current.message_retention_duration = changed.message_retention_duration,
            "message_storage_policy" => current.message_storage_policy.clone_from(&changed.message_storage_policy),
            "kms_key_name" => current.kms_key_name.clone_from(&changed.kms_key_name),
            "name" => return Err(immutable("Topic", path)),
            _ => return Err(unknown("Topic", path)),
        }
    }
    complete_topic(current)
}

fn paths<'a>(mask: Option<&'a prost_types::FieldMask>, request: &str) -> Result<&'a [String], Status> {
    match mask {
        Some(mask) if !mask.paths.is_empty() => Ok(&mask.paths),
        _ => Err(invalid(format!(
            "The update_mask in the {request} must be set, and must contain a non-empty paths list."
        ))),
    }
}

fn unknown(what: &str, path: &str) -> Status {
    invalid(format!(
        "Invalid update_mask provided in the Update{what}Request: '{path}' is not a known {what} field. Note that field \
         paths must be of the form 'push_config' rather than 'pushConfig'."
    ))
}

fn immutable(what: &str, path: &str) -> Status {
    invalid(format!(
        "Invalid update_mask provided in the Update{what}Request: the '{path}' field in the {what} is not mutable."
    ))
}
