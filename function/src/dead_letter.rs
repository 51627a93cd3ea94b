//! Where rejected messages go: the original, unchanged, with why it was rejected.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::Message;
use crate::cloud::Clients;
use crate::sink::destination::check_topic;
use crate::sink::topic::Topic;
use crate::sink::{Destination, DestinationError, SinkError};
use infra::limits::{MAX_ATTRIBUTES, MAX_VALUE};

/// The dead-letter topic.
#[derive(Debug)]
pub struct DeadLetter {
    topic: Topic,
}

impl DeadLetter {
    /// `topic` is `projects/P/topics/T`. Nothing connects yet.
    pub fn new(topic: &str, clients: &Arc<Clients>) -> Result<Self, DestinationError> {
        check_topic(topic).map_err(|why| DestinationError::new(topic, why))?;
        Ok(Self { topic: Topic::new(topic, clients) })
    }

    /// The topic, as a destination that prints.
    pub fn destination(&self) -> Destination {
        Destination::Topic(self.topic.name().to_owned())
    }

    /// Publishes the message as it came, with `dead-letter-*` attributes added, and waits for Pub/Sub's answer.
    ///
    /// `message` is the one that arrived, before any claim check was resolved. An error of either kind leaves the message
    /// with its sender: its outcome is a retry.
    pub async fn publish(&self, message: &Message, reason: &str, detail: &str, service: &str) -> Result<(), SinkError> {
        let attributes = attributes(message, reason, detail, service, &Timestamp::now().to_string());
        self.topic.publish(message.data.clone(), attributes, &message.ordering_key).await
    }

    /// Waits, within the deadline of a publish, for what Pub/Sub has not yet answered.
    pub async fn flush(&self) {
        self.topic.flush().await;
    }
}

/// The message's own attributes, unchanged but for `dead-letter-*` of an earlier rejection. Where Pub/Sub's limit leaves
/// less room than six, the most telling ones are added: a lost message would be worse than a poor label.
fn attributes(message: &Message, reason: &str, detail: &str, service: &str, time: &str) -> BTreeMap<String, String> {
    let topic = message.source.strip_prefix("//pubsub.googleapis.com/").unwrap_or(&message.source);
    let labels = [
        ("dead-letter-reason", reason),
        ("dead-letter-detail", detail),
        ("dead-letter-source-message-id", &message.id),
        ("dead-letter-source-topic", topic),
        ("dead-letter-service", service),
        ("dead-letter-time", time),
    ];
    let mut attributes = message.attributes.clone();
    attributes.retain(|name, _| labels.iter().all(|(label, _)| label != name));
    let room = MAX_ATTRIBUTES.saturating_sub(attributes.len());
    for (name, value) in labels.into_iter().take(room) {
        attributes.insert(name.to_owned(), truncate(value).to_owned());
    }
    attributes
}

/// The longest beginning that Pub/Sub takes as a value and that ends at a character.
fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_VALUE)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(attributes: usize) -> Message {
        Message {
            id: "17".into(),
            source: "//pubsub.googleapis.com/projects/p/topics/t".into(),
            attributes: (0..attributes).map(|n| (format!("a{n:03}"), "v".into())).collect(),
            ..Message::default()
        }
    }

    #[test]
    fn original_attributes_and_six_more() {
        let mut message = message(1);
        message.attributes.insert("dead-letter-detail".into(), "of an earlier rejection".into());
        let found = attributes(&message, "bad-payload", "no input", "service", "2026-01-02T03:04:05Z");
        let expected = [
            ("a000", "v"),
            ("dead-letter-detail", "no input"),
            ("dead-letter-reason", "bad-payload"),
            ("dead-letter-service", "service"),
            ("dead-letter-source-message-id", "17"),
            ("dead-letter-source-topic", "projects/p/topics/t"),
            ("dead-letter-time", "2026-01-02T03:04:05Z"),
        ];
        assert!(found.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected));
    }

    #[test]
    fn a_full_message_keeps_all_of_its_own() {
        for (own, added) in [(94, 6), (98, 2), (100, 0)] {
            let message = message(own);
            let found = attributes(&message, "r", "d", "s", "t");
            assert_eq!(found.len(), own + added);
            assert!(message.attributes.keys().all(|name| found.contains_key(name)));
            assert_eq!(found.contains_key("dead-letter-reason"), added > 0);
        }
    }

    proptest! {
        #[test]
        fn details_are_cut_at_a_character(detail in "(x|é|語|😀){0,800}") {
            let cut = truncate(&detail);
            prop_assert!(detail.starts_with(cut));
            prop_assert!(cut.len() <= MAX_VALUE && (cut.len() + 4 > MAX_VALUE || cut == detail));
        }
    }
}
