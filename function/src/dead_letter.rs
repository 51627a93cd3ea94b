//! Publishes rejected messages to the dead-letter topic: the original, with the reason of its rejection.
//!
//! A dead letter has the message's data, attributes and ordering key unchanged, and beside them [`REASON`],
//! [`DETAIL`], [`SERVICE`], [`SOURCE_TOPIC`], [`SOURCE_MESSAGE_ID`] and [`TIME`], which replace those of an earlier
//! rejection. Every message has a dead letter, whatever it holds. What Pub/Sub does not take, or what
//! exceeds its limits, gives way in this order:
//!
//! | what | where it goes |
//! |---|---|
//! | attributes whose names Pub/Sub keeps for itself ([`infra::limits::is_reserved`]) | [`ORIGINAL`] |
//! | names and values that are empty or too long, an ordering key that is too long | [`ORIGINAL`] |
//! | where there would be more than 100 attributes, the shortest of the message's own | [`ORIGINAL`] |
//! | where that is not enough, the values of reserved names, then the longest attributes | lost: [`LOST`] says which |
//! | data over 10 MB | an object in the bucket for results ([`DATA_URI`]); without a bucket the end is lost |
//!
//! `task`, `idempotency-key`, a claim check, counters and the trace context give way last. [`LEFT_OUT`] names
//! everything that is moved or lost. [`ORIGINAL`] is JSON, in the form of Pub/Sub's REST API, of what fits nowhere
//! else: `{"attributes":{"name":"value"},"orderingKey":"key"}`. Where it is longer than one attribute, it continues in
//! `dead-letter-original-2` and so on. [`Original`] puts it back together.
//!
//! If Pub/Sub still calls the letter invalid, three more forms are tried: with all of the message's own attributes in
//! [`ORIGINAL`]; with the data cut to leave room for the attributes within 10 MB; and with both. A topic that refuses
//! even that, as one with a schema does, is misconfigured: the message is not acknowledged and is redelivered.
//!
//! # Layout
//!
//! - `labels`: what a letter says about its rejection
//! - `original`: what a message was, before it became a letter
//! - `letter`: what gives way
//! - `store`: data in a bucket

mod labels;
mod letter;
mod original;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use crate::Message;
use crate::clients::Clients;
use crate::resource_names::check_topic;
use crate::sink::topic::Topic;
use crate::sink::{Destination, DestinationError, SinkError};
use labels::labels;
pub use labels::{
    DATA_GENERATION, DATA_SHA256, DATA_URI, DETAIL, LEFT_OUT, LOST, ORIGINAL, REASON, SERVICE, SOURCE_MESSAGE_ID,
    SOURCE_TOPIC, TIME,
};
use letter::{Data, FORMS, Letter};
pub use original::Original;
use store::{Store, Stored};

/// The dead-letter topic.
#[derive(Debug)]
pub struct DeadLetter {
    topic: Topic,
    store: Option<Store>,
}

impl DeadLetter {
    /// `topic` is `projects/P/topics/T`. Nothing connects yet.
    pub fn new(topic: &str, clients: &Arc<Clients>) -> Result<Self, DestinationError> {
        check_topic(topic).map_err(|error| DestinationError::new(topic, error.to_string()))?;
        Ok(Self { topic: Topic::new(topic, clients), store: None })
    }

    /// Keeps data that no letter can hold in the first bucket among the destinations of results.
    #[must_use]
    pub fn with_data_in_bucket_of(mut self, results: &[Destination], clients: &Arc<Clients>) -> Self {
        self.store = results.iter().find_map(|result| match result {
            Destination::Bucket { bucket, prefix } => Some(Store::new(bucket, prefix, clients)),
            _ => None,
        });
        self
    }

    /// The topic, as a destination that prints.
    pub fn destination(&self) -> Destination {
        Destination::Topic(self.topic.name().to_owned())
    }

    /// Publishes the letter of a message and waits for Pub/Sub's response.
    ///
    /// `message` is the one that arrived, before any claim check was resolved. After an error the message must not be
    /// acknowledged: its outcome is a Retry.
    pub async fn publish(&self, message: &Message, reason: &str, detail: &str, service: &str) -> Result<(), SinkError> {
        let time = Timestamp::now().to_string();
        let labels = labels(message, reason, detail, service, &time);
        let original = Original::of_message(message);
        let (mut stored, mut tried, mut refusal) = (None, Vec::new(), None);
        for form in FORMS {
            let mut letter = Letter::new(&original, &labels, form, &Data::Whole);
            if letter.data_room() < message.data.len() {
                letter = Letter::new(&original, &labels, form, &self.data_elsewhere(message, &mut stored).await?);
            }
            let data = letter.data(&message.data);
            // A form that comes out like one that was refused would be refused again.
            let same = |(other, length): &(Letter, usize)| other.is_sent_as(&letter) && *length == data.len();
            if tried.iter().any(same) {
                continue;
            }
            if let Some(lost) = letter.attributes.get(LOST) {
                tracing::warn!(message_id = message.id, lost, "a dead letter cannot hold all of its message");
            }
            let length = data.len();
            match self.topic.publish(data, letter.attributes.clone(), &letter.ordering_key).await {
                Err(error @ SinkError::Permanent { .. }) => refusal = Some(error),
                answer => return answer,
            }
            tried.push((letter, length));
        }
        Err(SinkError::Passing {
            destination: self.topic.name().to_owned(),
            detail: format!(
                "it takes no form of the dead letter; a dead-letter topic has no schema ({})",
                refusal.map(|error| error.to_string()).unwrap_or_default()
            ),
        })
    }

    /// Data that does not fit into the letter: in the bucket if there is one, written once for all forms, else cut.
    async fn data_elsewhere(&self, message: &Message, stored: &mut Option<Stored>) -> Result<Data, SinkError> {
        let Some(store) = &self.store else { return Ok(Data::cut(&message.data)) };
        if stored.is_none() {
            *stored = Some(store.write(&message.data).await?);
        }
        Ok(stored.clone().map_or(Data::Whole, Data::Stored))
    }

    /// Waits, within the deadline of a publish, for the publishes that Pub/Sub has not answered yet.
    pub async fn flush(&self) {
        self.topic.flush().await;
    }
}
