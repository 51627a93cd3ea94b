//! What a dead letter says of itself.
//!
//! The function adds `dead-letter-*` to what it rejects; Pub/Sub adds `CloudPubSubDeadLetterSource*` to what was delivered too
//! often, see <https://cloud.google.com/pubsub/docs/handling-failures>.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use google_cloud_pubsub::model;
use serde::Deserialize;
use serde_json::{Value, json};

use infra::limits::MAX_ATTRIBUTES;

/// How often a message has been sent round again.
const COUNT: &str = "redrive-count";
/// Attributes that make a dead letter of a message.
const LABELS: [&str; 2] = ["dead-letter-", "CloudPubSubDeadLetterSource"];

/// A message as Pub/Sub's REST API gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Message {
    pub(super) message_id: String,
    publish_time: String,
    data: String,
    attributes: BTreeMap<String, String>,
    ordering_key: String,
}

/// A message of a dead-letter subscription.
#[derive(Clone, Debug, Default)]
pub(super) struct Letter {
    pub(super) id: String,
    /// When it came to the dead-letter topic: RFC 3339.
    pub(super) published: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) data: Bytes,
    pub(super) ordering_key: String,
    /// Deliveries by the dead-letter subscription itself, where it counts them.
    deliveries: Option<u32>,
    pub(super) ack_id: String,
}

/// Where a letter came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Source {
    /// `projects/P/topics/T`
    Topic(String),
    /// `projects/P/subscriptions/S`
    Subscription(String),
}

impl Source {
    /// The last part of its name.
    pub(super) fn short(&self) -> &str {
        let (Self::Topic(name) | Self::Subscription(name)) = self;
        name.rsplit('/').next().unwrap_or(name)
    }

    fn read(name: &str) -> Option<Self> {
        match name.split('/').collect::<Vec<_>>()[..] {
            ["projects", _, "topics", _] => Some(Self::Topic(name.to_owned())),
            ["projects", _, "subscriptions", _] => Some(Self::Subscription(name.to_owned())),
            _ => None,
        }
    }
}

impl Letter {
    pub(super) fn new(message: Message, ack_id: String, deliveries: Option<u32>) -> Result<Self> {
        let data = BASE64_STANDARD.decode(message.data);
        let data = data.map_err(|error| anyhow!("the data of message {} is no base64: {error}", message.message_id))?;
        Ok(Self {
            id: message.message_id,
            published: message.publish_time,
            attributes: message.attributes,
            data: data.into(),
            ordering_key: message.ordering_key,
            deliveries,
            ack_id,
        })
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether this is its id, or that of the message that it was.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id || self.attribute("dead-letter-source-message-id") == Some(id)
    }

    /// When it was rejected, or came to the dead-letter topic.
    pub(super) fn time(&self) -> &str {
        self.attribute("dead-letter-time").unwrap_or(&self.published)
    }

    pub(super) fn reason(&self) -> &str {
        let often = self.attribute("CloudPubSubDeadLetterSourceSubscription").map(|_| "delivered-too-often");
        self.attribute("dead-letter-reason").or(often).unwrap_or_default()
    }

    pub(super) fn detail(&self) -> &str {
        self.attribute("dead-letter-detail").unwrap_or_default()
    }

    /// How often Pub/Sub had tried to deliver the message.
    pub(super) fn attempts(&self) -> Option<u32> {
        self.attribute("CloudPubSubDeadLetterSourceDeliveryCount")?.parse().ok()
    }

    /// How often it has been sent round again. What cannot be read counts as the most, so that nothing goes round for ever.
    pub(super) fn redrives(&self) -> u32 {
        self.attribute(COUNT).map_or(0, |count| count.parse().unwrap_or(u32::MAX))
    }

    pub(super) fn source(&self) -> Option<Source> {
        if let Some(source) = self.attribute("dead-letter-source-topic").and_then(Source::read) {
            return Some(source);
        }
        let name = self.attribute("CloudPubSubDeadLetterSourceSubscription")?;
        let project = self.attribute("CloudPubSubDeadLetterSourceSubscriptionProject");
        let full = || project.map(|project| Source::Subscription(format!("projects/{project}/subscriptions/{name}")));
        Source::read(name).or_else(full)
    }

    /// The message that it was, counted; `None` if there is no room for the count among its attributes.
    pub(super) fn copy(&self) -> Option<model::Message> {
        let own = self.attributes.iter().filter(|(name, _)| !LABELS.iter().any(|label| name.starts_with(label)));
        let mut attributes: BTreeMap<String, String> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        attributes.insert(COUNT.to_owned(), self.redrives().saturating_add(1).to_string());
        (attributes.len() <= MAX_ATTRIBUTES).then(|| {
            model::Message::new()
                .set_data(self.data.clone())
                .set_attributes(attributes)
                .set_ordering_key(&self.ordering_key)
        })
    }

    /// Everything, with or without the data: text where it is text.
    pub(super) fn json(&self, data: bool) -> Value {
        let source = self.source().map(|(Source::Topic(name) | Source::Subscription(name))| name);
        let mut value = json!({
            "id": self.id,
            "time": self.time(),
            "source": source,
            "reason": self.reason(),
            "detail": self.detail(),
            "attempts": self.attempts(),
            "redrives": self.redrives(),
            "deliveries": self.deliveries,
            "orderingKey": self.ordering_key,
            "bytes": self.data.len(),
            "attributes": self.attributes,
        });
        if data {
            match std::str::from_utf8(&self.data) {
                Ok(text) => value["data"] = json!(text),
                Err(_) => value["dataBase64"] = json!(BASE64_STANDARD.encode(&self.data)),
            }
        }
        value
    }
}

/// Without what a terminal would obey: messages come from anybody.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn letter(attributes: &[(&str, &str)]) -> Letter {
        let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Letter { attributes, ordering_key: "k".into(), data: "d".into(), ..Letter::default() }
    }

    #[test]
    fn a_copy_is_the_message_that_it_was_and_how_often_it_went_round() {
        let copy = letter(&[
            ("task", "embed"),
            ("dead-letter-reason", "r"),
            ("dead-letter-time", "t"),
            ("CloudPubSubDeadLetterSourceDeliveryCount", "5"),
            ("redrive-count", "1"),
        ]);
        let copy = copy.copy().unwrap();
        let attributes: BTreeMap<_, _> = copy.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(attributes, BTreeMap::from([("redrive-count", "2"), ("task", "embed")]));
        assert_eq!((copy.ordering_key.as_str(), &copy.data[..]), ("k", &b"d"[..]));
        assert_eq!(letter(&[("redrive-count", "many")]).redrives(), u32::MAX);
        let full: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let full: Vec<(&str, &str)> = full.iter().map(|n| (n.as_str(), "")).collect();
        assert!(letter(&full).copy().is_none());
    }

    #[test]
    fn the_source_is_what_the_function_says_else_what_pubsub_says() {
        let pubsub =
            [("CloudPubSubDeadLetterSourceSubscription", "s"), ("CloudPubSubDeadLetterSourceSubscriptionProject", "p")];
        let of = |attributes: &[(&str, &str)]| letter(attributes).source();
        assert_eq!(of(&pubsub), Some(Source::Subscription("projects/p/subscriptions/s".into())));
        let own = ("dead-letter-source-topic", "projects/p/topics/t");
        assert_eq!(of(&[pubsub[0], pubsub[1], own]), Some(Source::Topic("projects/p/topics/t".into())));
        assert_eq!(of(&[("dead-letter-source-topic", "//pubsub.googleapis.com")]), None);
        assert_eq!(of(&pubsub[..1]), None);
    }
}
