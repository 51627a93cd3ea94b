//! A dead letter: its source and reason, and the message that it was.
//!
//! The function adds `dead-letter-*` attributes to the messages that it rejects, and describes there what a dead letter
//! has no room for ([`function::dead_letter`]). Pub/Sub adds `CloudPubSubDeadLetterSource*` to messages that were
//! delivered too often, see <https://cloud.google.com/pubsub/docs/handling-failures>.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use google_cloud_pubsub::model;
use serde::Deserialize;
use serde_json::{Value, json};

use function::dead_letter::{DATA_GENERATION, DATA_SHA256, DATA_URI, LEFT_OUT, Original};
use function::payload;
use infra::filter::Filter;
use infra::limits::{MAX_ATTRIBUTES, MAX_ORDERING_KEY, is_attribute, is_reserved};

/// The attribute that counts how often a message was redriven.
const REDRIVE_COUNT: &str = "redrive-count";
/// Prefixes of the attributes that dead letters have and other messages do not.
const DEAD_LETTER_PREFIXES: [&str; 2] = ["dead-letter-", "CloudPubSubDeadLetterSource"];

/// A message, as Pub/Sub's REST API returns it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RestMessage {
    pub(super) message_id: String,
    publish_time: String,
    data: String,
    attributes: BTreeMap<String, String>,
    ordering_key: String,
}

/// A dead letter.
#[derive(Clone, Debug, Default)]
pub(super) struct DeadLetter {
    pub(super) id: String,
    /// When it was published to the dead-letter topic, in RFC 3339.
    pub(super) published: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) data: Bytes,
    pub(super) ordering_key: String,
    /// How often the dead-letter subscription delivered it, if it counts deliveries.
    deliveries: Option<u32>,
    pub(super) ack_id: String,
}

/// Where a dead letter came from.
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

impl DeadLetter {
    pub(super) fn new(message: RestMessage, ack_id: String, deliveries: Option<u32>) -> Result<Self> {
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

    /// Whether this is its id, or the id of the message that it was.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id || self.attribute("dead-letter-source-message-id") == Some(id)
    }

    /// When it was rejected, or else published to the dead-letter topic.
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

    /// How often it was redriven. A count that does not parse is the highest, so that no message is redriven without
    /// end.
    pub(super) fn redrives(&self) -> u32 {
        self.attribute(REDRIVE_COUNT).map_or(0, |count| count.parse().unwrap_or(u32::MAX))
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

    /// Whether the filter matches the dead letter together with attributes of the message that were left out of it.
    pub(super) fn passes(&self, filter: &Filter) -> bool {
        if !self.attributes.contains_key(LEFT_OUT) {
            return filter.matches(&self.attributes);
        }
        let mut attributes = self.original().attributes;
        attributes.extend(self.attributes.clone());
        filter.matches(&attributes)
    }

    fn original(&self) -> Original {
        Original::of(&self.attributes, &self.ordering_key)
    }

    /// Attributes of the message that were left out of the dead letter's own.
    pub(super) fn left_out(&self) -> BTreeMap<String, String> {
        let mut attributes = self.original().attributes;
        attributes.retain(|name, _| !self.attributes.contains_key(name));
        attributes
    }

    /// The message that it was, to be published again: with the attributes that were left out, and with the count of
    /// redrives. Without reserved attributes, which only Pub/Sub can set.
    ///
    /// # Errors
    /// Why there can be no such message.
    pub(super) fn copy(&self) -> Result<model::Message, &'static str> {
        let original = self.original();
        if original.lost.is_some() {
            return Err("has lost a part of its message (dead-letter-lost)");
        }
        let mut attributes = original.attributes;
        attributes.retain(|name, _| {
            !is_reserved(name) && !DEAD_LETTER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        if !original.data.is_empty() {
            if attributes.contains_key(payload::URI) || !self.data.is_empty() {
                return Err("has its data in a bucket, and is a claim check or has other data as well");
            }
            let names =
                [(DATA_URI, payload::URI), (DATA_GENERATION, payload::GENERATION), (DATA_SHA256, payload::SHA256)];
            for (label, name) in names {
                let value = original.data.iter().find(|(found, _)| found == label);
                let (_, value) = value.ok_or("does not name the object with its data (dead-letter-data-*)")?;
                attributes.insert(name.to_owned(), value.clone());
            }
        }
        attributes.insert(REDRIVE_COUNT.to_owned(), self.redrives().saturating_add(1).to_string());
        if attributes.len() > MAX_ATTRIBUTES {
            return Err("has no room for the attribute redrive-count");
        }
        let fits = attributes.iter().all(|(name, value)| is_attribute(name, value));
        if !fits || original.ordering_key.len() > MAX_ORDERING_KEY {
            return Err("has a message that did not come from Pub/Sub and that Pub/Sub does not accept");
        }
        Ok(model::Message::new()
            .set_data(self.data.clone())
            .set_attributes(attributes)
            .set_ordering_key(original.ordering_key))
    }

    /// Everything as JSON, with or without the data, which is a text if it is UTF-8.
    pub(super) fn json(&self, data: bool) -> Value {
        let source = self.source().map(|(Source::Topic(name) | Source::Subscription(name))| name);
        let original = self.original();
        let mut value = json!({
            "id": self.id,
            "time": self.time(),
            "source": source,
            "reason": self.reason(),
            "detail": self.detail(),
            "attempts": self.attempts(),
            "redrives": self.redrives(),
            "deliveries": self.deliveries,
            "orderingKey": original.ordering_key,
            "leftOut": self.attribute(LEFT_OUT),
            "leftOutAttributes": self.left_out(),
            "lost": original.lost,
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

/// Replaces control characters: messages may come from anyone, and must not control a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(attributes: &[(&str, &str)]) -> DeadLetter {
        let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        DeadLetter { attributes, ordering_key: "k".into(), data: "d".into(), ..DeadLetter::default() }
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
        assert!(letter(&full).copy().is_err());
    }

    #[test]
    fn a_copy_has_what_was_left_out_and_nothing_of_google_s() {
        let original = r#"{"attributes":{"kind":"ticket","googclient_schemaname":"s"},"orderingKey":"k\u0000"}"#;
        let mut found = letter(&[
            ("task", "embed"),
            ("googclient_traceparent", "t"),
            ("dead-letter-left-out", "kind, googclient_schemaname, orderingKey"),
            ("dead-letter-original", &original[..40]),
            ("dead-letter-original-2", &original[40..]),
        ]);
        found.ordering_key.clear();
        assert!(found.passes(&Filter::parse("attributes.kind = \"ticket\"").unwrap()));
        assert!(found.passes(&Filter::parse("attributes:dead-letter-left-out").unwrap()));
        let copy = found.copy().unwrap();
        let attributes: BTreeMap<_, _> = copy.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected = [("googclient_traceparent", "t"), ("kind", "ticket"), ("redrive-count", "1"), ("task", "embed")];
        assert_eq!((attributes, copy.ordering_key.as_str()), (BTreeMap::from(expected), "k\0"));
        let shown = found.json(true);
        assert_eq!(shown["leftOutAttributes"], json!({"kind": "ticket", "googclient_schemaname": "s"}));

        found.attributes.insert("dead-letter-lost".into(), "a".into());
        assert!(found.copy().unwrap_err().contains("dead-letter-lost"));
    }

    #[test]
    fn data_in_a_bucket_becomes_a_claim_check() {
        let labels = [
            ("dead-letter-data-uri", "gs://bucket/dead-letters/0"),
            ("dead-letter-data-generation", "17"),
            ("dead-letter-data-sha256", "00"),
        ];
        let mut found = letter(&labels);
        assert!(found.copy().unwrap_err().contains("other data"));
        found.data = Bytes::new();
        let copy = found.copy().unwrap();
        assert_eq!(copy.attributes["payload-uri"], "gs://bucket/dead-letters/0");
        assert_eq!((copy.attributes["payload-generation"].as_str(), copy.attributes.len()), ("17", 4));
        found.attributes.insert("payload-uri".into(), "gs://bucket/other".into());
        assert!(found.copy().unwrap_err().contains("claim check"));
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
