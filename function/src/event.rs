//! What arrives: a CloudEvent or a Pub/Sub push becomes a [`Message`].

use std::collections::BTreeMap;

use bytes::Bytes;

/// One unit of work, whatever form it arrived in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Pub/Sub's message id or the CloudEvent's `id`; unique within [`source`](Self::source).
    pub id: String,
    /// CloudEvents `source`; for Pub/Sub `//pubsub.googleapis.com/projects/P/topics/T`, or, where only the subscription is
    /// known, `//pubsub.googleapis.com/projects/P/subscriptions/S`.
    pub source: String,
    /// CloudEvents `type`; for Pub/Sub `google.cloud.pubsub.topic.v1.messagePublished`.
    pub kind: String,
    /// When it was published: RFC 3339, as it was sent. Empty if unknown.
    pub time: String,
    /// The payload: Pub/Sub's `data` decoded from base64, or the event's data.
    pub data: Bytes,
    /// Pub/Sub's attributes, or the event's extensions.
    pub attributes: BTreeMap<String, String>,
    /// Pub/Sub's ordering key; empty if none.
    pub ordering_key: String,
    /// How often Pub/Sub has tried to deliver it, from 1; only with a dead-letter policy.
    pub delivery_attempt: Option<u32>,
    /// `projects/P/subscriptions/S`; empty if unknown.
    pub subscription: String,
}

/// stand-in
pub enum Incoming { /// .
 One(Message), /// .
 Batch(Vec<Result<Message, EventError>>) }
/// .
#[derive(Debug, thiserror::Error)]
#[error("bad")]
pub struct EventError;
impl EventError { /// .
 pub fn code(&self) -> &'static str { "x" } }
/// .
pub fn decode(_: &http::HeaderMap, body: Bytes) -> Result<Incoming, EventError> {
    use base64::Engine;
    let v: serde_json::Value = serde_json::from_slice(&body).map_err(|_| EventError)?;
    let data = base64::engine::general_purpose::STANDARD.decode(v["message"]["data"].as_str().unwrap_or("")).map_err(|_| EventError)?;
    let attributes = serde_json::from_value(v["message"]["attributes"].clone()).unwrap_or_default();
    Ok(Incoming::One(Message { data: data.into(), id: v["message"]["messageId"].as_str().unwrap_or("").into(), attributes, ..Message::default() }))
}
