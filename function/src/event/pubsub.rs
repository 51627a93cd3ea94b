//! Pub/Sub's push requests: wrapped in JSON, or the bare data with headers.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde::{Deserialize, Deserializer, de::MapAccess};

use super::attributes::{Attributes, optional, required};
use super::error::EventError;
use super::json::{self, Decoded, Object, Pairs, Read, Text, once, skip};
use super::message::{Context, Message, PUBSUB_TYPE};

const WRAPPER: &str = r#"a Pub/Sub push {"message":{…},"subscription":…}"#;
const UNWRAPPED: &str = "an unwrapped Pub/Sub push";
const MESSAGE_ID: &str = "x-goog-pubsub-message-id";

/// Reads the push wrapper. With a CloudEvent around it, that event's context wins.
pub(super) fn wrapped(body: &[u8], context: Option<Context>) -> Result<Message, EventError> {
    // Without an event around it, the body may be anything, the bare data of a message for one.
    let has_context = context.is_some();
    let no_push = |error: EventError| match has_context {
        true => error,
        false => EventError::NotWrapped { error: Box::new(error) },
    };
    let text = json::utf8(WRAPPER, body).map_err(no_push)?;
    let Read(push): Read<Push<'_>> = crate::json::parse(text).map_err(|error| {
        if !has_context && text.trim_start().starts_with('[') && text.contains(r#""specversion""#) {
            return EventError::WrongContentType;
        }
        let found = json::explain(WRAPPER, text, &error);
        let own = ["message.", "subscription", "deliveryAttempt", "delivery_attempt"];
        if own.iter().any(|field| error.path.starts_with(field)) { found } else { no_push(found) }
    })?;
    let Some(Read(inner)) = push.message else {
        return Err(match push.is_event {
            true => EventError::WrongContentType,
            false => no_push(EventError::Missing { name: "message", what: WRAPPER }),
        });
    };
    let is_bare = inner.data.is_none() && inner.attributes.is_none();
    let mut attributes = Attributes::default();
    for (key, value) in inner.attributes.unwrap_or_default().0.0 {
        if let Some(Text(value)) = value {
            attributes.insert(&key, value)?;
        }
    }
    let subscription = optional("subscription", push.subscription.map(|text| text.0))?;
    let id = either(inner.message_id);
    let time = optional("publishTime", either(inner.publish_time))?;
    let context = match context {
        Some(context) => Context { time: if time.is_empty() { context.time } else { time }, ..context },
        None => Context {
            id: required("messageId", WRAPPER, id).map_err(|error| if is_bare { no_push(error) } else { error })?,
            source: source(&subscription),
            kind: PUBSUB_TYPE.to_owned(),
            time,
        },
    };
    Ok(Message {
        id: context.id,
        source: context.source,
        kind: context.kind,
        time: context.time,
        data: Decoded::or_empty(inner.data, "data")?,
        content_type: String::new(),
        attributes: attributes.into_map(),
        ordering_key: optional("orderingKey", either(inner.ordering_key))?,
        delivery_attempt: either_number(push.delivery_attempt),
        subscription,
    })
}

/// Whether the headers are those of an unwrapped push with metadata.
pub(super) fn is_unwrapped(headers: &HeaderMap) -> bool {
    headers.contains_key(MESSAGE_ID)
}

/// Reads an unwrapped push: the body is the data.
pub(super) fn unwrapped(headers: &HeaderMap, body: Bytes) -> Result<Message, EventError> {
    let mut message = Message {
        id: required(MESSAGE_ID, UNWRAPPED, single(headers, MESSAGE_ID)?)?,
        kind: PUBSUB_TYPE.to_owned(),
        time: optional("x-goog-pubsub-publish-time", single(headers, "x-goog-pubsub-publish-time")?)?,
        data: body,
        content_type: content_type(headers)?,
        ..Message::default()
    };
    add_metadata(&mut message, Attributes::default(), headers, |_| true)?;
    message.source = source(&message.subscription);
    Ok(message)
}

/// Adds what the headers of an unwrapped push say beside the data: subscription, ordering key, and the attributes among
/// the headers that `keep` lets through. An attribute that is there already stays.
pub(super) fn add_metadata(
    message: &mut Message,
    mut attributes: Attributes,
    headers: &HeaderMap,
    keep: impl Fn(&str) -> bool,
) -> Result<(), EventError> {
    const SUBSCRIPTION: &str = "x-goog-pubsub-subscription-name";
    const ORDERING_KEY: &str = "x-goog-pubsub-ordering-key";
    message.subscription = optional(SUBSCRIPTION, single(headers, SUBSCRIPTION)?)?;
    message.ordering_key = optional(ORDERING_KEY, single(headers, ORDERING_KEY)?)?;
    for name in headers.keys() {
        let key = name.as_str();
        if is_attribute(key) && keep(key) && !attributes.contains(key) {
            attributes.insert(key, joined(headers, name)?)?;
        }
    }
    message.attributes = attributes.into_map();
    Ok(())
}

/// Whether a header of an unwrapped push is one of the message's attributes.
///
/// With `writeMetadata` each attribute becomes a header, beside those that HTTP, the pushing client, Google's front end
/// and proxies set. The latter are listed by name and kept few, since an attribute of such a name is lost; every other
/// header is an attribute. Its key is in lower case, as header names have no case. `traceparent`, `tracestate` and
/// `baggage` count as attributes: they carry the trace on to the result, also if a proxy set them.
fn is_attribute(name: &str) -> bool {
    const PREFIXES: [&str; 6] = ["x-appengine-", "x-envoy-", "x-forwarded-", "x-goog-", "x-google-", "proxy-"];
    !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !matches!(
            name,
            "accept"
                | "accept-charset"
                | "accept-encoding"
                | "accept-language"
                | "authorization"
                | "connection"
                | "content-encoding"
                | "content-length"
                | "content-type"
                | "cookie"
                | "expect"
                | "forwarded"
                | "from"
                | "function-execution-id"
                | "host"
                | "http2-settings"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "user-agent"
                | "via"
                | "x-cloud-trace-context"
                | "x-real-ip"
                | "x-request-id"
                | "x-serverless-authorization"
        )
}

/// The content type of a body that is the data; empty if there is none, or one that is not text.
pub(super) fn content_type(headers: &HeaderMap) -> Result<String, EventError> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    optional("content-type", value.map(Cow::Borrowed))
}

/// The text of a header that may occur once.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<Cow<'a, str>>, EventError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(EventError::DuplicateHeader { name: name.to_owned() });
    }
    first.map(|value| header_text(name, value).map(Cow::Borrowed)).transpose()
}

/// All values of a header as one, joined as RFC 9110 §5.3 says.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Cow<'a, str>, EventError> {
    let mut text = Cow::Borrowed("");
    for (index, value) in headers.get_all(name).iter().enumerate() {
        let value = header_text(name.as_str(), value)?;
        if index == 0 {
            text = Cow::Borrowed(value);
        } else {
            text.to_mut().extend([", ", value]);
        }
    }
    Ok(text)
}

/// The text of a header's value.
pub(super) fn header_text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, EventError> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| EventError::HeaderNotUtf8 { name: name.to_owned() })
}

/// The source of a message whose event names only the subscription.
fn source(subscription: &str) -> String {
    match subscription {
        "" => "//pubsub.googleapis.com".to_owned(),
        name => format!("//pubsub.googleapis.com/{name}"),
    }
}

/// One field in the two spellings that pushes carry: `messageId` and `message_id`.
type Spellings<T> = [Option<T>; 2];

/// The text of the first spelling, or of the second where the first is missing or empty.
fn either([camel, snake]: Spellings<Text<'_>>) -> Option<Cow<'_, str>> {
    camel.filter(|text| !text.0.is_empty()).or(snake).map(|text| text.0)
}

fn either_number([camel, snake]: Spellings<Attempt>) -> Option<u32> {
    camel.or(snake).map(|attempt| attempt.0).filter(|attempt| *attempt > 0)
}

/// The push wrapper's top level.
#[derive(Default)]
struct Push<'a> {
    message: Option<Read<PushMessage<'a>>>,
    subscription: Option<Text<'a>>,
    delivery_attempt: Spellings<Attempt>,
    /// Whether there is a `specversion`, as in no push but in every CloudEvent.
    is_event: bool,
}

impl<'de> Object<'de> for Push<'de> {
    const EXPECTED: &'static str = WRAPPER;

    fn field<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        let [camel, snake] = &mut self.delivery_attempt;
        match &*key {
            "message" => once(&mut self.message, "message", map),
            "subscription" => once(&mut self.subscription, "subscription", map),
            "deliveryAttempt" => once(camel, "deliveryAttempt", map),
            "delivery_attempt" => once(snake, "delivery_attempt", map),
            "specversion" => {
                self.is_event = true;
                skip(map)
            }
            _ => skip(map),
        }
    }
}

/// The message inside the push wrapper.
#[derive(Default)]
struct PushMessage<'a> {
    data: Option<Decoded>,
    /// An attribute that is `null` counts as missing.
    attributes: Option<Read<Pairs<'a, Option<Text<'a>>>>>,
    message_id: Spellings<Text<'a>>,
    publish_time: Spellings<Text<'a>>,
    ordering_key: Spellings<Text<'a>>,
}

impl<'de> Object<'de> for PushMessage<'de> {
    const EXPECTED: &'static str = "a Pub/Sub message object";

    fn field<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        match &*key {
            "data" => once(&mut self.data, "data", map),
            "attributes" => once(&mut self.attributes, "attributes", map),
            "messageId" => once(&mut self.message_id[0], "messageId", map),
            "message_id" => once(&mut self.message_id[1], "message_id", map),
            "publishTime" => once(&mut self.publish_time[0], "publishTime", map),
            "publish_time" => once(&mut self.publish_time[1], "publish_time", map),
            "orderingKey" => once(&mut self.ordering_key[0], "orderingKey", map),
            "ordering_key" => once(&mut self.ordering_key[1], "ordering_key", map),
            _ => skip(map),
        }
    }
}

/// A number of delivery attempts.
struct Attempt(u32);

impl<'de> Deserialize<'de> for Attempt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::small_number(deserializer).map(Self)
    }
}
