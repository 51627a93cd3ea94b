//! CloudEvents 1.0 in binary mode: the context in `ce-*` headers, the data in the body.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use super::attributes::{Attributes, optional, required};
use super::error::{EventError, excerpt};
use super::message::{Context, Message, PUBSUB_TYPE};
use super::pubsub;

const BINARY_EVENT: &str = "the headers of a CloudEvent in binary mode";

/// Whether the headers are a CloudEvent's: one of its required attributes is there.
pub(super) fn is_event(headers: &HeaderMap) -> bool {
    ["ce-id", "ce-source", "ce-type", "ce-specversion"].iter().any(|name| headers.contains_key(*name))
}

/// Reads an event.
pub(super) fn decode(headers: &HeaderMap, body: Bytes) -> Result<Message, EventError> {
    let mut attributes = Attributes::default();
    let [mut id, mut source, mut kind, mut specversion, mut time] = [const { None }; 5];
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else {
            continue;
        };
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err(EventError::DuplicateHeader { name: name.to_string() });
        }
        let value = text(name.as_str(), value)?;
        match attribute {
            "id" => id = Some(value),
            "source" => source = Some(value),
            "type" => kind = Some(value),
            "specversion" => specversion = Some(value),
            "time" => time = Some(value),
            // Of the context, but neither an extension nor of use here.
            "subject" | "dataschema" | "datacontenttype" => {}
            _ => attributes.insert(attribute, value)?,
        }
    }
    match specversion.as_deref() {
        Some("1.0") => {}
        None | Some("") => {
            return Err(EventError::Missing { name: "ce-specversion", what: BINARY_EVENT });
        }
        Some(found) => {
            return Err(EventError::UnsupportedSpecversion { found: excerpt(found) });
        }
    }
    let context = Context {
        id: required("ce-id", BINARY_EVENT, id)?,
        source: required("ce-source", BINARY_EVENT, source)?,
        kind: required("ce-type", BINARY_EVENT, kind)?,
        time: optional("ce-time", time)?,
    };
    if context.kind == PUBSUB_TYPE {
        return pubsub::wrapped(&body, Some(context));
    }
    let mut message = Message {
        id: context.id,
        source: context.source,
        kind: context.kind,
        time: context.time,
        data: body,
        content_type: pubsub::content_type(headers)?,
        ..Message::default()
    };
    if pubsub::is_unwrapped(headers) {
        pubsub::add_metadata(&mut message, attributes, headers, |name| !name.starts_with("ce-"))?;
    } else {
        message.attributes = attributes.into_map();
    }
    Ok(message)
}

/// The text of a header's value: quotes undone, then percent-encoding, once (CloudEvents HTTP binding 1.0.2 §3.1.3.2).
/// A `%` that begins no encoding stays, since older senders do not encode.
fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<Cow<'a, str>, EventError> {
    let raw = pubsub::header_text(name, value)?;
    let not_utf8 = |_| EventError::HeaderNotUtf8 { name: name.to_owned() };
    match unquoted(raw) {
        None => percent_decode_str(raw).decode_utf8().map_err(not_utf8),
        Some(inner) => {
            percent_decode_str(&inner).decode_utf8().map(|text| Cow::Owned(text.into_owned())).map_err(not_utf8)
        }
    }
}

/// The inside of a quoted string (RFC 9110 §5.6.4); `None` if the text is not one.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut plain = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => plain.push(rest.next()?),
            '"' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}
