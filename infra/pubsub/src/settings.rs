//! Settings of topics, subscriptions and snapshots: checked, and completed with the service's defaults.
//!
//! Bounds and defaults are those of <https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1> and
//! <https://cloud.google.com/pubsub/quotas>.
//!
//! - `patch`: updates, field by field; `mask`: the paths of update masks

mod mask;
pub(super) mod patch;

use std::collections::BTreeMap;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tonic::Status;

use super::error::{invalid, out_of_bounds};
use super::names::Kind;
use super::queue::{Backoff, QueueConfig};
use infra::filter::Filter;

const DAY_SECONDS: u64 = 24 * 60 * 60;
/// The shortest and the longest retention of messages.
const RETENTION_SECONDS: (u64, u64) = (10 * 60, 31 * DAY_SECONDS);
/// Of push subscriptions without a retry policy.
const PUSH_BACKOFF: Backoff = Backoff { minimum: Duration::from_millis(100), maximum: Duration::from_secs(60) };

/// Checks and completes a topic.
///
/// # Errors
/// INVALID_ARGUMENT for values out of bounds, UNIMPLEMENTED for features that the local Pub/Sub lacks.
pub(super) fn complete_topic(mut topic: pb::Topic) -> Result<pb::Topic, Status> {
    Kind::Topic.check(&topic.name)?;
    check_labels(&topic.labels)?;
    if let Some(retention) = &topic.message_retention_duration {
        check_seconds("message_retention_duration", retention, RETENTION_SECONDS)?;
    }
    absent("schema_settings", topic.schema_settings.is_none())?;
    absent("ingestion_data_source_settings", topic.ingestion_data_source_settings.is_none())?;
    absent("message_transforms", topic.message_transforms.is_empty())?;
    topic.state = pb::topic::State::Active as i32;
    topic.satisfies_pzs = false;
    Ok(topic)
}

/// Checks and completes a subscription.
///
/// # Errors
/// As [`complete_topic`].
pub(super) fn complete_subscription(mut subscription: pb::Subscription) -> Result<pb::Subscription, Status> {
    Kind::Subscription.check(&subscription.name)?;
    check_labels(&subscription.labels)?;
    absent("bigquery_config", subscription.bigquery_config.is_none())?;
    absent("bigtable_config", subscription.bigtable_config.is_none())?;
    absent("cloud_storage_config", subscription.cloud_storage_config.is_none())?;
    absent("message_transforms", subscription.message_transforms.is_empty())?;
    if subscription.ack_deadline_seconds == 0 {
        subscription.ack_deadline_seconds = 10;
    }
    if !(10..=600).contains(&subscription.ack_deadline_seconds) {
        return Err(out_of_bounds("ack_deadline_seconds", subscription.ack_deadline_seconds, "10 to 600"));
    }
    let retention = subscription.message_retention_duration.get_or_insert(seconds(7 * DAY_SECONDS));
    check_seconds("message_retention_duration", retention, RETENTION_SECONDS)?;
    let retention = retention.seconds;
    let expiration =
        subscription.expiration_policy.get_or_insert(pb::ExpirationPolicy { ttl: Some(seconds(31 * DAY_SECONDS)) });
    if let Some(ttl) = &expiration.ttl {
        check_seconds("expiration_policy.ttl", ttl, (DAY_SECONDS, u64::MAX))?;
        if ttl.seconds < retention {
            let bounds = format!("at least message_retention_duration, {retention} s");
            return Err(out_of_bounds("expiration_policy.ttl", ttl.seconds, &bounds));
        }
    }
    parse_filter(&subscription.filter)?;
    if let Some(policy) = &mut subscription.dead_letter_policy {
        complete_dead_letter_policy(policy)?;
    }
    if let Some(policy) = &mut subscription.retry_policy {
        complete_retry_policy(policy)?;
    }
    let push = subscription.push_config.get_or_insert_default();
    check_push(push)?;
    if subscription.enable_exactly_once_delivery && !push.push_endpoint.is_empty() {
        return Err(invalid(
            "Exactly-once delivery is for pull subscriptions: it cannot be enabled with a push endpoint.",
        ));
    }
    subscription.state = pb::subscription::State::Active as i32;
    subscription.analytics_hub_subscription_info = None;
    Ok(subscription)
}

/// Checks a snapshot.
///
/// # Errors
/// As [`complete_topic`].
pub(super) fn complete_snapshot(snapshot: pb::Snapshot) -> Result<pb::Snapshot, Status> {
    Kind::Snapshot.check(&snapshot.name)?;
    check_labels(&snapshot.labels)?;
    Ok(snapshot)
}

/// The filter of a subscription; `None` if every message passes.
pub(super) fn parse_filter(text: &str) -> Result<Option<Filter>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    match Filter::parse(text) {
        Ok(filter) => Ok(Some(filter)),
        Err(error) => Err(invalid(format!("Invalid filter: {error}"))),
    }
}

/// The part of completed settings that the queue follows.
pub(super) fn queue_config(subscription: &pb::Subscription) -> QueueConfig {
    let push = is_push(subscription);
    let retry = subscription.retry_policy.as_ref();
    let policy = subscription.dead_letter_policy.as_ref();
    QueueConfig {
        ack_deadline: Duration::from_secs(u64::try_from(subscription.ack_deadline_seconds).unwrap_or(10)),
        ordered: subscription.enable_message_ordering,
        exactly_once: subscription.enable_exactly_once_delivery,
        backoff: retry
            .map(|retry| Backoff {
                minimum: duration(retry.minimum_backoff.as_ref()),
                maximum: duration(retry.maximum_backoff.as_ref()),
            })
            .or(push.then_some(PUSH_BACKOFF)),
        max_attempts: policy.and_then(|policy| u32::try_from(policy.max_delivery_attempts).ok()),
        retention: duration(subscription.message_retention_duration.as_ref()),
        retain_acked: subscription.retain_acked_messages,
    }
}

/// Whether messages are pushed.
pub(super) fn is_push(subscription: &pb::Subscription) -> bool {
    subscription.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty())
}

/// A protobuf duration as the standard library's; a negative one is zero.
pub(super) fn duration(duration: Option<&prost_types::Duration>) -> Duration {
    duration.and_then(|duration| Duration::try_from(*duration).ok()).unwrap_or_default()
}

/// Checks the endpoint of a push subscription.
pub(super) fn check_push(push: &pb::PushConfig) -> Result<(), Status> {
    let endpoint = &push.push_endpoint;
    if endpoint.is_empty() {
        return Ok(());
    }
    let right = endpoint.len() <= 2048
        && endpoint
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
    if right {
        return Ok(());
    }
    Err(invalid(format!(
        "Invalid push endpoint given (endpoint={endpoint}): it has to be an absolute http or https URL."
    )))
}

fn seconds(seconds: u64) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 }
}

fn check_seconds(field: &str, value: &prost_types::Duration, (least, most): (u64, u64)) -> Result<(), Status> {
    let value = Duration::try_from(*value).unwrap_or_default();
    if value >= Duration::from_secs(least) && value <= Duration::from_secs(most) {
        return Ok(());
    }
    Err(out_of_bounds(field, format_args!("{} s", value.as_secs_f64()), &format!("{least} s to {most} s")))
}

fn complete_dead_letter_policy(policy: &mut pb::DeadLetterPolicy) -> Result<(), Status> {
    Kind::Topic.check(&policy.dead_letter_topic)?;
    if policy.max_delivery_attempts == 0 {
        policy.max_delivery_attempts = 5;
    }
    if (5..=100).contains(&policy.max_delivery_attempts) {
        return Ok(());
    }
    Err(out_of_bounds("dead_letter_policy.max_delivery_attempts", policy.max_delivery_attempts, "5 to 100"))
}

fn complete_retry_policy(policy: &mut pb::RetryPolicy) -> Result<(), Status> {
    let shortest = *policy.minimum_backoff.get_or_insert(seconds(10));
    let longest = *policy.maximum_backoff.get_or_insert(seconds(600));
    check_seconds("retry_policy.minimum_backoff", &shortest, (0, 600))?;
    check_seconds("retry_policy.maximum_backoff", &longest, (0, 600))?;
    if duration(Some(&shortest)) > duration(Some(&longest)) {
        let bounds = format!("0 s to retry_policy.maximum_backoff, {} s", longest.seconds);
        return Err(out_of_bounds("retry_policy.minimum_backoff", format_args!("{} s", shortest.seconds), &bounds));
    }
    Ok(())
}

/// Checks labels against <https://cloud.google.com/pubsub/docs/create-topic-labels>.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let fits = |text: &str| {
        text.chars().count() <= 63
            && text.chars().all(|c| (c.is_alphanumeric() && !c.is_uppercase()) || matches!(c, '-' | '_'))
    };
    if labels.len() > 64 {
        return Err(out_of_bounds("labels", format_args!("{} labels", labels.len()), "0 to 64"));
    }
    for (key, value) in labels {
        if !fits(key) || !fits(value) || !key.starts_with(char::is_alphabetic) {
            return Err(invalid(format!(
                "Invalid label given ({key}={value}): keys and values have at most 63 lower-case letters, digits, \"-\" and \
                 \"_\", and a key begins with a letter."
            )));
        }
    }
    Ok(())
}

fn absent(field: &str, absent: bool) -> Result<(), Status> {
    if absent {
        return Ok(());
    }
    Err(Status::unimplemented(format!("This local Pub/Sub has no {field}; leave the field out here.")))
}
