//! Topics, as JSON.

use std::collections::BTreeMap;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tonic::Status;

use super::scalars::{JsonDuration, absent, is_false, mask};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Topic {
    name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(alias = "message_storage_policy", skip_serializing_if = "Option::is_none")]
    message_storage_policy: Option<MessageStoragePolicy>,
    #[serde(alias = "kms_key_name", skip_serializing_if = "String::is_empty")]
    kms_key_name: String,
    #[serde(alias = "message_retention_duration", skip_serializing_if = "Option::is_none")]
    message_retention_duration: Option<JsonDuration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Value>,
    #[serde(alias = "satisfies_pzs", skip_serializing)]
    satisfies_pzs: bool,
    #[serde(alias = "schema_settings", skip_serializing)]
    schema_settings: Option<Value>,
    #[serde(alias = "ingestion_data_source_settings", skip_serializing)]
    ingestion_data_source_settings: Option<Value>,
    #[serde(alias = "message_transforms", skip_serializing)]
    message_transforms: Option<Value>,
    #[serde(skip_serializing)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct MessageStoragePolicy {
    #[serde(alias = "allowed_persistence_regions", skip_serializing_if = "Vec::is_empty")]
    allowed_persistence_regions: Vec<String>,
    #[serde(alias = "enforce_in_transit", skip_serializing_if = "is_false")]
    enforce_in_transit: bool,
}

impl TryFrom<Topic> for pb::Topic {
    type Error = Status;

    fn try_from(topic: Topic) -> Result<Self, Status> {
        absent("schemaSettings", topic.schema_settings.as_ref())?;
        absent("ingestionDataSourceSettings", topic.ingestion_data_source_settings.as_ref())?;
        absent("messageTransforms", topic.message_transforms.as_ref())?;
        Ok(Self {
            name: topic.name,
            labels: topic.labels,
            message_storage_policy: topic.message_storage_policy.map(|policy| pb::MessageStoragePolicy {
                allowed_persistence_regions: policy.allowed_persistence_regions,
                enforce_in_transit: policy.enforce_in_transit,
            }),
            kms_key_name: topic.kms_key_name,
            message_retention_duration: topic.message_retention_duration.map(|span| span.0),
            tags: topic.tags,
            ..Self::default()
        })
    }
}

impl From<pb::Topic> for Topic {
    fn from(topic: pb::Topic) -> Self {
        Self {
            state: Some(topic.state().as_str_name().into()),
            name: topic.name,
            labels: topic.labels,
            message_storage_policy: topic.message_storage_policy.map(|policy| MessageStoragePolicy {
                allowed_persistence_regions: policy.allowed_persistence_regions,
                enforce_in_transit: policy.enforce_in_transit,
            }),
            kms_key_name: topic.kms_key_name,
            message_retention_duration: topic.message_retention_duration.map(JsonDuration),
            ..Self::default()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct UpdateTopicRequest {
    topic: Topic,
    #[serde(alias = "update_mask", deserialize_with = "mask")]
    update_mask: Vec<String>,
}

impl TryFrom<UpdateTopicRequest> for pb::UpdateTopicRequest {
    type Error = Status;

    fn try_from(request: UpdateTopicRequest) -> Result<Self, Status> {
        let update_mask = Some(prost_types::FieldMask { paths: request.update_mask });
        Ok(Self { topic: Some(request.topic.try_into()?), update_mask })
    }
}
