//! Subscriptions, as JSON.

use std::collections::BTreeMap;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::push_config::{AuthenticationMethod, Wrapper};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tonic::Status;

use super::scalars::{JsonDuration, absent, int, is_false, mask};
use crate::error::invalid;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Subscription {
    name: String,
    topic: String,
    #[serde(alias = "push_config")]
    push_config: PushConfig,
    #[serde(alias = "ack_deadline_seconds", deserialize_with = "int")]
    ack_deadline_seconds: i32,
    #[serde(alias = "retain_acked_messages", skip_serializing_if = "is_false")]
    retain_acked_messages: bool,
    #[serde(alias = "message_retention_duration", skip_serializing_if = "Option::is_none")]
    message_retention_duration: Option<JsonDuration>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(alias = "enable_message_ordering", skip_serializing_if = "is_false")]
    enable_message_ordering: bool,
    #[serde(alias = "expiration_policy", skip_serializing_if = "Option::is_none")]
    expiration_policy: Option<ExpirationPolicy>,
    #[serde(skip_serializing_if = "String::is_empty")]
    filter: String,
    #[serde(alias = "dead_letter_policy", skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<DeadLetterPolicy>,
    #[serde(alias = "retry_policy", skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicy>,
    #[serde(skip_serializing_if = "is_false")]
    detached: bool,
    #[serde(alias = "enable_exactly_once_delivery", skip_serializing_if = "is_false")]
    enable_exactly_once_delivery: bool,
    #[serde(alias = "topic_message_retention_duration", skip_serializing_if = "Option::is_none")]
    topic_message_retention_duration: Option<JsonDuration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Value>,
    #[serde(alias = "bigquery_config", skip_serializing)]
    bigquery_config: Option<Value>,
    #[serde(alias = "bigtable_config", skip_serializing)]
    bigtable_config: Option<Value>,
    #[serde(alias = "cloud_storage_config", skip_serializing)]
    cloud_storage_config: Option<Value>,
    #[serde(alias = "message_transforms", skip_serializing)]
    message_transforms: Option<Value>,
    #[serde(skip_serializing)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExpirationPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<JsonDuration>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct DeadLetterPolicy {
    #[serde(alias = "dead_letter_topic")]
    dead_letter_topic: String,
    #[serde(alias = "max_delivery_attempts", deserialize_with = "int")]
    max_delivery_attempts: i32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RetryPolicy {
    #[serde(alias = "minimum_backoff", skip_serializing_if = "Option::is_none")]
    minimum_backoff: Option<JsonDuration>,
    #[serde(alias = "maximum_backoff", skip_serializing_if = "Option::is_none")]
    maximum_backoff: Option<JsonDuration>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct PushConfig {
    #[serde(alias = "push_endpoint", skip_serializing_if = "String::is_empty")]
    push_endpoint: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(alias = "oidc_token", skip_serializing_if = "Option::is_none")]
    oidc_token: Option<OidcToken>,
    #[serde(alias = "pubsub_wrapper", skip_serializing_if = "Option::is_none")]
    pubsub_wrapper: Option<PubsubWrapper>,
    #[serde(alias = "no_wrapper", skip_serializing_if = "Option::is_none")]
    no_wrapper: Option<NoWrapper>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct OidcToken {
    #[serde(alias = "service_account_email")]
    service_account_email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    audience: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PubsubWrapper {}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct NoWrapper {
    #[serde(alias = "write_metadata", skip_serializing_if = "is_false")]
    write_metadata: bool,
}

impl From<PushConfig> for pb::PushConfig {
    fn from(push: PushConfig) -> Self {
        let wrapper = match (push.pubsub_wrapper, push.no_wrapper) {
            (_, Some(NoWrapper { write_metadata })) => {
                Some(Wrapper::NoWrapper(pb::push_config::NoWrapper { write_metadata }))
            }
            (Some(_), None) => Some(Wrapper::PubsubWrapper(pb::push_config::PubsubWrapper {})),
            (None, None) => None,
        };
        Self {
            push_endpoint: push.push_endpoint,
            attributes: push.attributes,
            authentication_method: push.oidc_token.map(|token| {
                let OidcToken { service_account_email, audience } = token;
                AuthenticationMethod::OidcToken(pb::push_config::OidcToken { service_account_email, audience })
            }),
            wrapper,
        }
    }
}

impl From<pb::PushConfig> for PushConfig {
    fn from(push: pb::PushConfig) -> Self {
        let oidc_token = push.authentication_method.map(|AuthenticationMethod::OidcToken(token)| OidcToken {
            service_account_email: token.service_account_email,
            audience: token.audience,
        });
        let (pubsub_wrapper, no_wrapper) = match push.wrapper {
            Some(Wrapper::PubsubWrapper(_)) => (Some(PubsubWrapper {}), None),
            Some(Wrapper::NoWrapper(wrapper)) => (None, Some(NoWrapper { write_metadata: wrapper.write_metadata })),
            None => (None, None),
        };
        let pb::PushConfig { push_endpoint, attributes, .. } = push;
        Self { push_endpoint, attributes, oidc_token, pubsub_wrapper, no_wrapper }
    }
}

impl TryFrom<Subscription> for pb::Subscription {
    type Error = Status;

    fn try_from(subscription: Subscription) -> Result<Self, Status> {
        absent("bigqueryConfig", subscription.bigquery_config.as_ref())?;
        absent("bigtableConfig", subscription.bigtable_config.as_ref())?;
        absent("cloudStorageConfig", subscription.cloud_storage_config.as_ref())?;
        absent("messageTransforms", subscription.message_transforms.as_ref())?;
        if subscription.push_config.pubsub_wrapper.is_some() && subscription.push_config.no_wrapper.is_some() {
            return Err(invalid("A push config has one of pubsubWrapper and noWrapper."));
        }
        Ok(Self {
            name: subscription.name,
            topic: subscription.topic,
            push_config: Some(subscription.push_config.into()),
            ack_deadline_seconds: subscription.ack_deadline_seconds,
            retain_acked_messages: subscription.retain_acked_messages,
            message_retention_duration: subscription.message_retention_duration.map(|span| span.0),
            labels: subscription.labels,
            enable_message_ordering: subscription.enable_message_ordering,
            expiration_policy: subscription
                .expiration_policy
                .map(|policy| pb::ExpirationPolicy { ttl: policy.ttl.map(|span| span.0) }),
            filter: subscription.filter,
            dead_letter_policy: subscription.dead_letter_policy.map(|policy| pb::DeadLetterPolicy {
                dead_letter_topic: policy.dead_letter_topic,
                max_delivery_attempts: policy.max_delivery_attempts,
            }),
            retry_policy: subscription.retry_policy.map(|policy| pb::RetryPolicy {
                minimum_backoff: policy.minimum_backoff.map(|span| span.0),
                maximum_backoff: policy.maximum_backoff.map(|span| span.0),
            }),
            enable_exactly_once_delivery: subscription.enable_exactly_once_delivery,
            tags: subscription.tags,
            ..Self::default()
        })
    }
}

impl From<pb::Subscription> for Subscription {
    fn from(subscription: pb::Subscription) -> Self {
        Self {
            state: Some(subscription.state().as_str_name().into()),
            name: subscription.name,
            topic: subscription.topic,
            push_config: subscription.push_config.unwrap_or_default().into(),
            ack_deadline_seconds: subscription.ack_deadline_seconds,
            retain_acked_messages: subscription.retain_acked_messages,
            message_retention_duration: subscription.message_retention_duration.map(JsonDuration),
            labels: subscription.labels,
            enable_message_ordering: subscription.enable_message_ordering,
            expiration_policy: subscription
                .expiration_policy
                .map(|policy| ExpirationPolicy { ttl: policy.ttl.map(JsonDuration) }),
            filter: subscription.filter,
            dead_letter_policy: subscription.dead_letter_policy.map(|policy| DeadLetterPolicy {
                dead_letter_topic: policy.dead_letter_topic,
                max_delivery_attempts: policy.max_delivery_attempts,
            }),
            retry_policy: subscription.retry_policy.map(|policy| RetryPolicy {
                minimum_backoff: policy.minimum_backoff.map(JsonDuration),
                maximum_backoff: policy.maximum_backoff.map(JsonDuration),
            }),
            detached: subscription.detached,
            enable_exactly_once_delivery: subscription.enable_exactly_once_delivery,
            topic_message_retention_duration: subscription.topic_message_retention_duration.map(JsonDuration),
            ..Self::default()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct UpdateSubscriptionRequest {
    subscription: Subscription,
    #[serde(alias = "update_mask", deserialize_with = "mask")]
    update_mask: Vec<String>,
}

impl TryFrom<UpdateSubscriptionRequest> for pb::UpdateSubscriptionRequest {
    type Error = Status;

    fn try_from(request: UpdateSubscriptionRequest) -> Result<Self, Status> {
        let update_mask = Some(prost_types::FieldMask { paths: request.update_mask });
        Ok(Self { subscription: Some(request.subscription.try_into()?), update_mask })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct ModifyPushConfigRequest {
    #[serde(alias = "push_config")]
    pub(super) push_config: Option<PushConfig>,
}
