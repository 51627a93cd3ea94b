//! Decodes what arrives, a CloudEvent or a Pub/Sub push, into a [`Message`].
//!
//! [`decode`] reads every form that the function takes. Which form a request has is decided in this order:
//!
//! | what the request has | form |
//! |---|---|
//! | content type `application/cloudevents-batch+json` | CloudEvents batch |
//! | content type `application/cloudevents+json` | CloudEvents structured mode |
//! | a header `ce-id`, `ce-source`, `ce-type` or `ce-specversion` | CloudEvents binary mode |
//! | a header `x-goog-pubsub-message-id` | unwrapped Pub/Sub push |
//! | anything else | Pub/Sub push wrapper, `{"message":{…},"subscription":…}` |
//!
//! A CloudEvent of Pub/Sub's own type ([`PUBSUB_TYPE`], which Eventarc sends) holds the push wrapper: the message
//! inside is the message, with the id and the source of the event. In a CloudEvent of any other type the data is the
//! payload and the extensions are the attributes.
//!
//! A field that may be missing may be `null` as well, an attribute and an extension too. A byte-order mark before JSON
//! is skipped; JSON in UTF-16 or UTF-32 is refused by name. An error names the field, and in a batch the event: its
//! index and its id.
//!
//! Memory: a message's data is a slice of the body, or is decoded once from it, and is never longer than the body. Time
//! is linear in the body. Nothing here recurses with the depth of the input.

mod attributes;
mod base64;
mod binary;
mod error;
mod json;
mod limits;
mod message;
mod pubsub;
mod structured;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};

pub use error::EventError;
pub use limits::{MAX_ATTRIBUTES, MAX_EVENTS, MAX_KEY, MAX_VALUE};
use message::starts_with_ignore_case;
pub use message::{HOP_COUNT_ATTRIBUTE, Message, PUBSUB_TYPE, TASK_ATTRIBUTE};

/// What one request holds.
// Destructured as soon as it is made: a box would cost every message an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// One message.
    One(Message),
    /// A CloudEvents batch, in the order of the request; may be empty. An event that cannot be read has its own error
    /// and does not spoil the others.
    Batch(Vec<Result<Message, EventError>>),
}

/// Reads the event, or the batch of them, that a request holds.
///
/// The caller bounds the length of `body`, and refuses one with a content encoding. A charset in the content type is
/// ignored: JSON is UTF-8, and a body that is not is refused.
///
/// ```
/// use bytes::Bytes;
/// use function::event::{Incoming, decode};
/// use http::HeaderMap;
///
/// let push = r#"{"message":{"data":"aGVsbG8=","messageId":"7"},"subscription":"projects/p/subscriptions/s"}"#;
/// let Ok(Incoming::One(message)) = decode(&HeaderMap::new(), Bytes::from(push)) else { panic!() };
/// assert_eq!(message.data, "hello");
/// ```
///
/// # Errors
///
/// An [`EventError`] when the request as a whole holds no event in any of the forms above.
pub fn decode(headers: &HeaderMap, body: Bytes) -> Result<Incoming, EventError> {
    match event_format(headers)? {
        Some(Format::Batch) => structured::batch(&body).map(Incoming::Batch),
        Some(Format::Structured) => structured::one(&body).map(Incoming::One),
        None if binary::is_event(headers) => binary::decode(headers, body).map(Incoming::One),
        None if pubsub::is_unwrapped(headers) => pubsub::unwrapped(headers, body).map(Incoming::One),
        None => pubsub::wrapped(&body, None).map(Incoming::One),
    }
}

/// A JSON format of CloudEvents, named by the content type.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Structured,
    Batch,
}

/// The CloudEvents format that the content type names; `None` if it names no such format.
fn event_format(headers: &HeaderMap) -> Result<Option<Format>, EventError> {
    let mut found = None;
    for (index, value) in headers.get_all(CONTENT_TYPE).iter().enumerate() {
        let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let media_type = media_type.trim_ascii();
        let format = if media_type.eq_ignore_ascii_case(b"application/cloudevents+json") {
            Some(Format::Structured)
        } else if media_type.eq_ignore_ascii_case(b"application/cloudevents-batch+json") {
            Some(Format::Batch)
        } else if starts_with_ignore_case(media_type, b"application/cloudevents") {
            return Err(EventError::UnsupportedFormat { found: error::excerpt_bytes(media_type) });
        } else {
            None
        };
        // Two content types with the same meaning are accepted, as when an attribute becomes a second header.
        if index > 0 && format != found {
            return Err(EventError::DuplicateHeader { name: CONTENT_TYPE.to_string() });
        }
        found = format;
    }
    Ok(found)
}
