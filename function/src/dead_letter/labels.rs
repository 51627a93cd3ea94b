//! What a dead letter says about its rejection, as attributes.

use crate::Message;

/// Why it was rejected: a stable word for programs.
pub const REASON: &str = "dead-letter-reason";
/// Why it was rejected: a sentence for people.
pub const DETAIL: &str = "dead-letter-detail";
/// The id of the rejected message.
pub const SOURCE_MESSAGE_ID: &str = "dead-letter-source-message-id";
/// The topic that the message came from; the subscription where only that is named.
pub const SOURCE_TOPIC: &str = "dead-letter-source-topic";
/// The declared service that rejected it.
pub const SERVICE: &str = "dead-letter-service";
/// When it was rejected: RFC 3339, UTC.
pub const TIME: &str = "dead-letter-time";
/// What is moved or lost, for people: names of attributes, `orderingKey`, `data`, separated by commas.
pub const LEFT_OUT: &str = "dead-letter-left-out";
/// What the letter does not hold anywhere, for people. Reserved attributes do not count: Pub/Sub sets them anew.
pub const LOST: &str = "dead-letter-lost";
/// JSON of what is moved and not lost.
pub const ORIGINAL: &str = "dead-letter-original";
/// `gs://BUCKET/OBJECT` with the data, where the letter has none.
pub const DATA_URI: &str = "dead-letter-data-uri";
/// The generation of that object.
pub const DATA_GENERATION: &str = "dead-letter-data-generation";
/// The SHA-256 of the data, in hexadecimal.
pub const DATA_SHA256: &str = "dead-letter-data-sha256";

/// Names and values of what every letter says anew.
pub(super) type Labels<'a> = [(&'static str, &'a str); 6];

pub(super) fn labels<'a>(
    message: &'a Message,
    reason: &'a str,
    detail: &'a str,
    service: &'a str,
    time: &'a str,
) -> Labels<'a> {
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
