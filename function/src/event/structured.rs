//! CloudEvents 1.0 in structured mode: the whole event, or a batch of them, as JSON.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};
use serde_json::value::RawValue;

use super::attributes::{Attributes, optional, required};
use super::error::{EventError, excerpt};
use super::json::{self, Decoded, Object, Pairs, Read, Text, once, skip};
use super::limits::{MAX_EVENTS, MAX_VALUE};
use super::message::{Context, Message, PUBSUB_TYPE};
use super::pubsub;

const EVENT: &str = "a CloudEvent object";
const PUBSUB_EVENT: &str = "a CloudEvent of Pub/Sub's type";
const BATCH: &str = "a JSON array of CloudEvents";

/// Reads the one event of a body.
pub(super) fn one(body: &Bytes) -> Result<Message, EventError> {
    event(body, json::utf8(EVENT, body)?)
}

/// Reads the events of a batch, each on its own.
pub(super) fn batch(body: &Bytes) -> Result<Vec<Result<Message, EventError>>, EventError> {
    let Entries(entries) = json::parse(BATCH, json::utf8(BATCH, body)?)?;
    if entries.len() > MAX_EVENTS {
        return Err(EventError::TooManyEvents);
    }
    let entries = entries.iter().map(|entry| entry.get()).enumerate();
    let read = |(index, entry): (usize, &str)| {
        event(body, entry).map_err(|error| EventError::InBatch { index, id: id(entry), error: Box::new(error) })
    };
    Ok(entries.map(read).collect())
}

/// The id of an event that cannot be read as a whole.
fn id(text: &str) -> Option<String> {
    #[derive(Default)]
    struct Id<'a>(Option<&'a RawValue>);
    impl<'de> Object<'de> for Id<'de> {
        const EXPECTED: &'static str = EVENT;

        fn field<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
            if key == "id" { once(&mut self.0, "id", map) } else { skip(map) }
        }
    }
    let Read(Id(id)) = serde_json::from_str(text).ok()?;
    let id: String = serde_json::from_str(id?.get()).ok()?;
    (1..=MAX_VALUE).contains(&id.len()).then_some(id)
}

/// Reads an event from its text, which is a part of the body.
fn event(body: &Bytes, text: &str) -> Result<Message, EventError> {
    let Read(envelope): Read<Envelope<'_>> = json::parse(EVENT, text)?;
    match envelope.specversion.as_ref().map(|text| &*text.0) {
        Some("1.0") => {}
        None | Some("") => {
            return Err(EventError::Missing { name: "specversion", what: EVENT });
        }
        Some(found) => {
            return Err(EventError::UnsupportedSpecversion { found: excerpt(found) });
        }
    }
    let required = |name, value: Option<Text<'_>>| required(name, EVENT, value.map(|text| text.0));
    let context = Context {
        id: required("id", envelope.id)?,
        source: required("source", envelope.source)?,
        kind: required("type", envelope.kind)?,
        time: optional("time", envelope.time.map(|text| text.0))?,
    };
    let data = match (envelope.data, envelope.data_base64) {
        (Some(_), Some(_)) => return Err(EventError::BothData),
        (Some(raw), None) => data(body, raw)?,
        (None, decoded) => Decoded::or_empty(decoded, "data_base64")?,
    };
    if context.kind == PUBSUB_TYPE {
        if data.is_empty() {
            return Err(EventError::Missing { name: "data", what: PUBSUB_EVENT });
        }
        return pubsub::wrapped(&data, Some(context));
    }
    let content_type = optional("datacontenttype", envelope.datacontenttype.map(|text| text.0))?;
    let mut attributes = Attributes::default();
    for (key, value) in envelope.extensions.0 {
        match value {
            Extension::Text(value) => attributes.insert(&key, value)?,
            Extension::Null => {}
            Extension::Other(found) => {
                return Err(EventError::BadExtension { name: excerpt(&key), found });
            }
        }
    }
    Ok(Message {
        id: context.id,
        source: context.source,
        kind: context.kind,
        time: context.time,
        data,
        content_type,
        attributes: attributes.into_map(),
        ..Message::default()
    })
}

/// The payload in `data`: a string's text, any other value's JSON text.
fn data(body: &Bytes, raw: &RawValue) -> Result<Bytes, EventError> {
    if !raw.get().starts_with('"') {
        return Ok(share(body, raw.get()));
    }
    match json::parse("the CloudEvent's data", raw.get())? {
        Text(Cow::Borrowed(text)) => Ok(share(body, text)),
        Text(Cow::Owned(text)) => Ok(text.into()),
    }
}

/// A part of the body: shared if it is most of it, else copied, so that a small payload does not keep a large body
/// alive.
fn share(body: &Bytes, part: &str) -> Bytes {
    if part.len() >= body.len() / 2 { body.slice_ref(part.as_bytes()) } else { Bytes::copy_from_slice(part.as_bytes()) }
}

/// An event in the JSON format (CloudEvents JSON event format 1.0.2 §3).
#[derive(Default)]
struct Envelope<'a> {
    specversion: Option<Text<'a>>,
    id: Option<Text<'a>>,
    source: Option<Text<'a>>,
    kind: Option<Text<'a>>,
    time: Option<Text<'a>>,
    subject: Option<Text<'a>>,
    dataschema: Option<Text<'a>>,
    datacontenttype: Option<Text<'a>>,
    data: Option<&'a RawValue>,
    data_base64: Option<Decoded>,
    extensions: Pairs<'a, Extension<'a>>,
}

impl<'de> Object<'de> for Envelope<'de> {
    const EXPECTED: &'static str = EVENT;

    fn field<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        match &*key {
            "specversion" => once(&mut self.specversion, "specversion", map),
            "id" => once(&mut self.id, "id", map),
            "source" => once(&mut self.source, "source", map),
            "type" => once(&mut self.kind, "type", map),
            "time" => once(&mut self.time, "time", map),
            "subject" => once(&mut self.subject, "subject", map),
            "dataschema" => once(&mut self.dataschema, "dataschema", map),
            "datacontenttype" => once(&mut self.datacontenttype, "datacontenttype", map),
            "data" => once(&mut self.data, "data", map),
            "data_base64" => once(&mut self.data_base64, "data_base64", map),
            _ => self.extensions.take(key, map),
        }
    }
}

/// The value of an extension, as text.
enum Extension<'a> {
    Text(Cow<'a, str>),
    /// Counts as missing.
    Null,
    /// A kind of value that no extension has.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Extension<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Extension<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an extension's value")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Extension::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Extension::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Extension::Text(Cow::Borrowed(if value { "true" } else { "false" })))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Extension::Text(value.to_string().into()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Extension::Text(value.to_string().into()))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Extension::Other("a fraction"))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Extension::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Extension::Other("an array"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Extension::Other("an object"))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

/// The entries of a batch, unread; no more than one above the limit are kept.
struct Entries<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(BATCH)
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
                Err(E::invalid_type(Unexpected::Other("string"), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while entries.len() <= MAX_EVENTS {
                    match seq.next_element()? {
                        Some(entry) => entries.push(entry),
                        None => return Ok(Entries(entries)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_any(Array)
    }
}
