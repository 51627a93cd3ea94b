//! Updates of resources, field by field as the update mask names them.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::push_config::{AuthenticationMethod, Wrapper};
use tonic::Status;

use super::mask::{immutable, key, merge, names, paths, set_entry, unknown};
use super::{complete_snapshot, complete_subscription, complete_topic};

/// `current` with the fields of `changed` that `mask` names.
///
/// # Errors
/// INVALID_ARGUMENT for an empty mask, an unknown or immutable field, or a value that is out of bounds.
pub(crate) fn patch_subscription(
    mut current: pb::Subscription,
    changed: &pb::Subscription,
    mask: Option<&prost_types::FieldMask>,
) -> Result<pb::Subscription, Status> {
    const RESOURCE: &str = "Subscription";
    for path in paths(mask, RESOURCE)? {
        let names = names(path);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let is_known = match *names {
            ["ack_deadline_seconds"] => set(&mut current.ack_deadline_seconds, &changed.ack_deadline_seconds),
            ["retain_acked_messages"] => set(&mut current.retain_acked_messages, &changed.retain_acked_messages),
            ["message_retention_duration"] => {
                set(&mut current.message_retention_duration, &changed.message_retention_duration)
            }
            ["labels"] => set(&mut current.labels, &changed.labels),
            ["labels", _] => {
                set_entry(&mut current.labels, &changed.labels, key(path));
                true
            }
            ["expiration_policy", ref rest @ ..] => {
                merge(&mut current.expiration_policy, changed.expiration_policy.as_ref(), rest, |to, from, names| {
                    matches!(names, ["ttl"]) && set(&mut to.ttl, &from.ttl)
                })
            }
            ["dead_letter_policy", ref rest @ ..] => {
                merge(&mut current.dead_letter_policy, changed.dead_letter_policy.as_ref(), rest, dead_letter_policy)
            }
            ["retry_policy", ref rest @ ..] => {
                merge(&mut current.retry_policy, changed.retry_policy.as_ref(), rest, retry_policy)
            }
            ["push_config", ref rest @ ..] => {
                merge(&mut current.push_config, changed.push_config.as_ref(), rest, |to, from, names| {
                    push_config(to, from, names, key(path))
                })
            }
            ["enable_exactly_once_delivery"] => {
                set(&mut current.enable_exactly_once_delivery, &changed.enable_exactly_once_delivery)
            }
            ["bigquery_config"] => set(&mut current.bigquery_config, &changed.bigquery_config),
            ["bigtable_config"] => set(&mut current.bigtable_config, &changed.bigtable_config),
            ["cloud_storage_config"] => set(&mut current.cloud_storage_config, &changed.cloud_storage_config),
            ["message_transforms"] => set(&mut current.message_transforms, &changed.message_transforms),
            [
                "name"
                | "topic"
                | "filter"
                | "enable_message_ordering"
                | "detached"
                | "state"
                | "tags"
                | "topic_message_retention_duration"
                | "analytics_hub_subscription_info",
            ] => return Err(immutable(RESOURCE, path)),
            _ => false,
        };
        if !is_known {
            return Err(unknown(RESOURCE, path));
        }
    }
    complete_subscription(current)
}

/// As [`patch_subscription`], for topics.
///
/// # Errors
/// As [`patch_subscription`].
pub(crate) fn patch_topic(
    mut current: pb::Topic,
    changed: &pb::Topic,
    mask: Option<&prost_types::FieldMask>,
) -> Result<pb::Topic, Status> {
    const RESOURCE: &str = "Topic";
    for path in paths(mask, RESOURCE)? {
        let names = names(path);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let is_known = match *names {
            ["labels"] => set(&mut current.labels, &changed.labels),
            ["labels", _] => {
                set_entry(&mut current.labels, &changed.labels, key(path));
                true
            }
            ["message_retention_duration"] => {
                set(&mut current.message_retention_duration, &changed.message_retention_duration)
            }
            ["message_storage_policy", ref rest @ ..] => merge(
                &mut current.message_storage_policy,
                changed.message_storage_policy.as_ref(),
                rest,
                message_storage_policy,
            ),
            ["kms_key_name"] => set(&mut current.kms_key_name, &changed.kms_key_name),
            ["schema_settings"] => set(&mut current.schema_settings, &changed.schema_settings),
            ["ingestion_data_source_settings"] => {
                set(&mut current.ingestion_data_source_settings, &changed.ingestion_data_source_settings)
            }
            ["message_transforms"] => set(&mut current.message_transforms, &changed.message_transforms),
            ["name" | "state" | "satisfies_pzs" | "tags"] => return Err(immutable(RESOURCE, path)),
            _ => false,
        };
        if !is_known {
            return Err(unknown(RESOURCE, path));
        }
    }
    complete_topic(current)
}

/// As [`patch_subscription`], for snapshots.
///
/// # Errors
/// As [`patch_subscription`].
pub(crate) fn patch_snapshot(
    mut current: pb::Snapshot,
    changed: &pb::Snapshot,
    mask: Option<&prost_types::FieldMask>,
) -> Result<pb::Snapshot, Status> {
    const RESOURCE: &str = "Snapshot";
    for path in paths(mask, RESOURCE)? {
        let names = names(path);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match *names {
            ["labels"] => current.labels.clone_from(&changed.labels),
            ["labels", _] => set_entry(&mut current.labels, &changed.labels, key(path)),
            ["name" | "topic" | "expire_time"] => return Err(immutable(RESOURCE, path)),
            _ => return Err(unknown(RESOURCE, path)),
        }
    }
    complete_snapshot(current)
}

fn push_config(current: &mut pb::PushConfig, changed: &pb::PushConfig, names: &[&str], key: &str) -> bool {
    match names {
        ["push_endpoint"] => set(&mut current.push_endpoint, &changed.push_endpoint),
        ["attributes"] => set(&mut current.attributes, &changed.attributes),
        ["attributes", _] => {
            set_entry(&mut current.attributes, &changed.attributes, key);
            true
        }
        ["oidc_token", rest @ ..] => {
            let token = |push: &pb::PushConfig| {
                push.authentication_method.clone().map(|AuthenticationMethod::OidcToken(token)| token)
            };
            let mut merged = token(current);
            let is_known = merge(&mut merged, token(changed).as_ref(), rest, |to, from, names| match names {
                ["service_account_email"] => set(&mut to.service_account_email, &from.service_account_email),
                ["audience"] => set(&mut to.audience, &from.audience),
                _ => false,
            });
            current.authentication_method = merged.map(AuthenticationMethod::OidcToken);
            is_known
        }
        ["pubsub_wrapper"] => {
            let is_wrapped = |push: &pb::PushConfig| matches!(push.wrapper, Some(Wrapper::PubsubWrapper(_)));
            if is_wrapped(current) || is_wrapped(changed) {
                current.wrapper = changed.wrapper.filter(|_| is_wrapped(changed));
            }
            true
        }
        ["no_wrapper", rest @ ..] => {
            let no_wrapper = |push: &pb::PushConfig| match push.wrapper {
                Some(Wrapper::NoWrapper(no_wrapper)) => Some(no_wrapper),
                _ => None,
            };
            let mut merged = no_wrapper(current);
            let is_known = merge(&mut merged, no_wrapper(changed).as_ref(), rest, |to, from, names| {
                matches!(names, ["write_metadata"]) && set(&mut to.write_metadata, &from.write_metadata)
            });
            if merged.is_some() || no_wrapper(current).is_some() {
                current.wrapper = merged.map(Wrapper::NoWrapper);
            }
            is_known
        }
        _ => false,
    }
}

fn dead_letter_policy(current: &mut pb::DeadLetterPolicy, changed: &pb::DeadLetterPolicy, names: &[&str]) -> bool {
    match names {
        ["dead_letter_topic"] => set(&mut current.dead_letter_topic, &changed.dead_letter_topic),
        ["max_delivery_attempts"] => set(&mut current.max_delivery_attempts, &changed.max_delivery_attempts),
        _ => false,
    }
}

fn retry_policy(current: &mut pb::RetryPolicy, changed: &pb::RetryPolicy, names: &[&str]) -> bool {
    match names {
        ["minimum_backoff"] => set(&mut current.minimum_backoff, &changed.minimum_backoff),
        ["maximum_backoff"] => set(&mut current.maximum_backoff, &changed.maximum_backoff),
        _ => false,
    }
}

fn message_storage_policy(
    current: &mut pb::MessageStoragePolicy,
    changed: &pb::MessageStoragePolicy,
    names: &[&str],
) -> bool {
    match names {
        ["allowed_persistence_regions"] => {
            set(&mut current.allowed_persistence_regions, &changed.allowed_persistence_regions)
        }
        ["enforce_in_transit"] => set(&mut current.enforce_in_transit, &changed.enforce_in_transit),
        _ => false,
    }
}

/// Sets a field. Always true: a field that can be set exists.
fn set<T: Clone>(current: &mut T, changed: &T) -> bool {
    current.clone_from(changed);
    true
}
