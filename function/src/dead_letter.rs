//! Where rejected messages go: the original, with why it was rejected.
//!
//! A dead letter has the message's data, attributes and ordering key unchanged, and beside them [`REASON`],
//! [`DETAIL`], [`SERVICE`], [`SOURCE_TOPIC`], [`SOURCE_MESSAGE_ID`] and [`TIME`], which replace those of an earlier
//! rejection. Whatever the message holds, there is a letter of it. What Pub/Sub does not take, or has no room for,
//! gives way in this order:
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
//! everything that is not in its place. [`ORIGINAL`] is JSON, in the form of Pub/Sub's REST API, of what fits nowhere
//! else: `{"attributes":{"name":"value"},"orderingKey":"key"}`. Where it is longer than one attribute,
//! `dead-letter-original-2` and so on go on. [`Original`] puts it back together.
//!
//! Where Pub/Sub calls a letter invalid all the same, three more forms are tried: with all of the message's own
//! attributes in [`ORIGINAL`]; with the data cut to leave room for the attributes within 10 MB; and with both. A
//! topic that refuses even that, as one with a schema does, is misconfigured: the message stays with its sender.
//!
//! # Layout
//!
//! - `original`: what a message was, before it became a letter
//! - `letter`: what gives way
//! - `store`: data in a bucket

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
use letter::{Data, FORMS, Letter};
pub use original::Original;
use store::{Store, Stored};

/// A stable word for programs.
pub const REASON: &str = "dead-letter-reason";
/// A sentence for people.
pub const DETAIL: &str = "dead-letter-detail";
/// The message's id.
pub const SOURCE_MESSAGE_ID: &str = "dead-letter-source-message-id";
/// The topic that the message came from, as far as it is known.
pub const SOURCE_TOPIC: &str = "dead-letter-source-topic";
/// The declared service that rejected it.
pub const SERVICE: &str = "dead-letter-service";
/// When: RFC 3339, UTC.
pub const TIME: &str = "dead-letter-time";
/// What of the message is not in its place, for people: names of attributes, `orderingKey`, `data`, separated by
/// commas.
pub const LEFT_OUT: &str = "dead-letter-left-out";
/// What of it is nowhere in the letter, for people. Reserved attributes do not count: Pub/Sub sets them anew.
pub const LOST: &str = "dead-letter-lost";
/// JSON of what is left out and not lost.
pub const ORIGINAL: &str = "dead-letter-original";
/// `gs://BUCKET/OBJECT` with the data, which the letter then has not.
pub const DATA_URI: &str = "dead-letter-data-uri";
/// The generation of that object.
pub const DATA_GENERATION: &str = "dead-letter-data-generation";
/// The SHA-256 of the data, in hexadecimal.
pub const DATA_SHA256: &str = "dead-letter-data-sha256";

/// The dead-letter topic.
#[derive(Debug)]
pub struct DeadLetter {
    topic: Topic,
    store: Option<Store>,
}

impl DeadLetter {
    /// `topic` is `projects/P/topics/T`. Nothing connects yet.
    pub fn new(topic: &str, clients: &Arc<Clients>) -> Result<Self, DestinationError> {
        check_topic(topic).map_err(|why| DestinationError::new(topic, why))?;
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

    /// Publishes the letter of a message and waits for Pub/Sub's answer.
    ///
    /// `message` is the one that arrived, before any claim check was resolved. An error leaves the message with its
    /// sender: its outcome is a retry.
    pub async fn publish(&self, message: &Message, reason: &str, detail: &str, service: &str) -> Result<(), SinkError> {
        let time = Timestamp::now().to_string();
        let labels = labels(message, reason, detail, service, &time);
        let original = Original::of_message(message);
        let (mut stored, mut tried, mut refusal) = (None, Vec::new(), None);
        for form in FORMS {
            let mut letter = Letter::new(&original, &labels, form, &Data::Whole);
            if letter.data_room() < message.data.len() {
                letter = Letter::new(&original, &labels, form, &self.place(message, &mut stored).await?);
            }
            let data = letter.data(&message.data);
            // What was refused once is refused again.
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

    /// Where data goes that the letter has no room for.
    async fn place(&self, message: &Message, stored: &mut Option<Stored>) -> Result<Data, SinkError> {
        let Some(store) = &self.store else { return Ok(Data::cut(&message.data)) };
        if stored.is_none() {
            *stored = Some(store.write(&message.data).await?);
        }
        Ok(stored.clone().map_or(Data::Whole, Data::Stored))
    }

    /// Waits, within the deadline of a publish, for what Pub/Sub has not yet answered.
    pub async fn flush(&self) {
        self.topic.flush().await;
    }
}

type Labels<'a> = [(&'static str, &'a str); 6];

fn labels<'a>(message: &'a Message, reason: &'a str, detail: &'a str, service: &'a str, time: &'a str) -> Labels<'a> {
    let topic = message.source.strip_prefix("//pubsub.googleapis.com/").unwrap_or(&message.source);
    [
        (REASON, reason),
        (DETAIL, detail),
        (SOURCE_MESSAGE_ID, &message.id),
        (SOURCE_TOPIC, topic),
        (SERVICE, service),
        (TIME, time),
    ]
}
