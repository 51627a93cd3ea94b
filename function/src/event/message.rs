//! The message that every form of event is decoded into.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;

/// The CloudEvents `type` of a message published to a Pub/Sub topic.
pub const PUBSUB_TYPE: &str = "google.cloud.pubsub.topic.v1.messagePublished";

/// The attribute that names a task.
pub const TASK_ATTRIBUTE: &str = "task";
/// The attribute with the number of hop-limited services that a message has passed, as the result of a result of a
/// result. It stops loops in which services consume each other's results.
pub const HOP_COUNT_ATTRIBUTE: &str = "hop-count";

/// One unit of work, the same for every form of event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Pub/Sub's message id or the CloudEvent's `id`; unique within [`source`](Self::source).
    pub id: String,
    /// CloudEvents `source`; for Pub/Sub `//pubsub.googleapis.com/projects/P/topics/T`, or, where the event names only
    /// the subscription, `//pubsub.googleapis.com/projects/P/subscriptions/S`; where it names neither,
    /// `//pubsub.googleapis.com`.
    pub source: String,
    /// CloudEvents `type`; for Pub/Sub [`PUBSUB_TYPE`].
    pub kind: String,
    /// When it was published: RFC 3339, as it was sent. Empty if unknown.
    pub time: String,
    /// The payload: Pub/Sub's `data` decoded from base64, or the event's data.
    pub data: Bytes,
    /// The media type of [`data`](Self::data) that the event declares: a CloudEvent's `datacontenttype`, or the header
    /// `content-type` where the body is the data. Empty where none is declared, as in every wrapped Pub/Sub message.
    pub content_type: String,
    /// Pub/Sub's attributes, or the event's extensions. At most [`MAX_ATTRIBUTES`](super::MAX_ATTRIBUTES), of
    /// [`MAX_KEY`](super::MAX_KEY) and [`MAX_VALUE`](super::MAX_VALUE) bytes.
    pub attributes: BTreeMap<String, String>,
    /// Pub/Sub's ordering key; empty if none.
    pub ordering_key: String,
    /// How often Pub/Sub has tried to deliver it, from 1; only with a dead-letter policy.
    pub delivery_attempt: Option<u32>,
    /// `projects/P/subscriptions/S`; empty if unknown.
    pub subscription: String,
}

impl Message {
    /// Whether the payload is declared to be text (`text/plain` or another `text/…`): by its content type, or by the
    /// attribute `content-type`, which is where CloudEvents' binding for Pub/Sub puts it.
    pub fn is_text(&self) -> bool {
        let attribute = self.attributes.get(CONTENT_TYPE.as_str()).map(String::as_str);
        [Some(self.content_type.as_str()), attribute]
            .into_iter()
            .flatten()
            .any(|kind| starts_with_ignore_case(kind.trim_start().as_bytes(), b"text/"))
    }
}

/// The parts of a CloudEvent's context that a message keeps.
pub(super) struct Context {
    pub(super) id: String,
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) time: String,
}

pub(super) fn starts_with_ignore_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
