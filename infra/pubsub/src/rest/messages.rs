//! Publish, pull, acknowledge and seek: requests and responses as JSON. Fields are read in camel case or as protobuf
//! spells them.

use std::collections::BTreeMap;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::scalars::{Base64, JsonTimestamp, int};
use crate::error::invalid;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PublishRequest {
    messages: Vec<Message>,
}

impl PublishRequest {
    pub(super) fn for_topic(self, topic: &str) -> pb::PublishRequest {
        let messages = self.messages.into_iter().map(|message| pb::PubsubMessage {
            data: message.data.0,
            attributes: message.attributes,
            ordering_key: message.ordering_key,
            ..pb::PubsubMessage::default()
        });
        pb::PublishRequest { topic: topic.into(), messages: messages.collect() }
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PublishResponse {
    pub(super) message_ids: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Message {
    #[serde(skip_serializing_if = "is_empty")]
    data: Base64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(alias = "message_id")]
    message_id: String,
    #[serde(alias = "publish_time", skip_serializing_if = "Option::is_none")]
    publish_time: Option<JsonTimestamp>,
    #[serde(alias = "ordering_key", skip_serializing_if = "String::is_empty")]
    ordering_key: String,
}

fn is_empty(data: &Base64) -> bool {
    data.0.is_empty()
}

impl From<pb::PubsubMessage> for Message {
    fn from(message: pb::PubsubMessage) -> Self {
        let pb::PubsubMessage { data, attributes, message_id, publish_time, ordering_key } = message;
        Self { data: Base64(data), attributes, message_id, publish_time: publish_time.map(JsonTimestamp), ordering_key }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct PullRequest {
    #[serde(alias = "return_immediately")]
    pub(super) return_immediately: bool,
    #[serde(alias = "max_messages", deserialize_with = "int")]
    pub(super) max_messages: i32,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PullResponse {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    received_messages: Vec<ReceivedMessage>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceivedMessage {
    ack_id: String,
    message: Message,
    #[serde(skip_serializing_if = "is_zero")]
    delivery_attempt: i32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl From<pb::PullResponse> for PullResponse {
    fn from(response: pb::PullResponse) -> Self {
        let received_messages = response.received_messages.into_iter().map(|received| ReceivedMessage {
            ack_id: received.ack_id,
            message: received.message.unwrap_or_default().into(),
            delivery_attempt: received.delivery_attempt,
        });
        Self { received_messages: received_messages.collect() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct AcknowledgeRequest {
    #[serde(alias = "ack_ids")]
    pub(super) ack_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct ModifyAckDeadlineRequest {
    #[serde(alias = "ack_ids")]
    pub(super) ack_ids: Vec<String>,
    #[serde(alias = "ack_deadline_seconds", deserialize_with = "int")]
    pub(super) ack_deadline_seconds: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SeekRequest {
    time: Option<JsonTimestamp>,
    snapshot: Option<String>,
}

impl SeekRequest {
    pub(super) fn target(self) -> Result<Option<pb::seek_request::Target>, Status> {
        match (self.time, self.snapshot) {
            (Some(_), Some(_)) => Err(invalid("A seek has one target: a time or a snapshot.")),
            (Some(JsonTimestamp(time)), None) => Ok(Some(pb::seek_request::Target::Time(time))),
            (None, snapshot) => Ok(snapshot.map(pb::seek_request::Target::Snapshot)),
        }
    }
}
