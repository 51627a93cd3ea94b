//! Why a request, or one entry of a batch, cannot be decoded.

use super::limits::{MAX_ATTRIBUTES, MAX_EVENTS};

/// A request, or one entry of a batch, that cannot be decoded. Each message says what was expected and what was found;
/// what it quotes from outside is short and free of control characters.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A CloudEvents format other than JSON.
    #[error(
        "content type {found}: expected application/cloudevents+json or application/cloudevents-batch+json, the \
         formats that are supported"
    )]
    UnsupportedFormat {
        /// The media type.
        found: String,
    },
    /// A CloudEvent of another version of the specification.
    #[error("CloudEvents specversion {found}: expected \"1.0\", the version that is supported")]
    UnsupportedSpecversion {
        /// The version.
        found: String,
    },
    /// A structured CloudEvent without the content type that says so.
    #[error(
        "the body looks like CloudEvents in JSON: expected content type application/cloudevents+json with an event, \
         application/cloudevents-batch+json with an array of them"
    )]
    WrongContentType,
    /// The text is not UTF-8.
    #[error("expected {what} in UTF-8, found a wrong byte at offset {offset}{hint}")]
    NotUtf8 {
        /// What was read.
        what: &'static str,
        /// Where the first wrong byte is, from 0.
        offset: usize,
        /// What the bytes look like, and what to do about it; empty if they resemble nothing in particular.
        hint: String,
    },
    /// The text is not JSON, or ends too early.
    #[error("expected {what} as JSON, found {found}: {detail}")]
    NotJson {
        /// What was read.
        what: &'static str,
        /// How the text begins.
        found: String,
        /// The field, and the parser's words with line and column.
        detail: String,
    },
    /// JSON of another shape: a wrong type, a field twice.
    #[error("expected {what}: {detail}")]
    WrongShape {
        /// What was read.
        what: &'static str,
        /// The field, and the parser's words with line and column.
        detail: String,
    },
    /// A required field or header is missing or empty.
    #[error("expected a non-empty `{name}` in {what}, found none")]
    Missing {
        /// The field or header.
        name: &'static str,
        /// What was read.
        what: &'static str,
    },
    /// A header that may occur once occurs again.
    #[error("expected one header `{name}`, found more than one")]
    DuplicateHeader {
        /// The header, in lower case.
        name: String,
    },
    /// A header is not UTF-8, or is not when its percent-encoding is undone.
    #[error("expected UTF-8 in the header `{name}`, found other bytes")]
    HeaderNotUtf8 {
        /// The header, in lower case.
        name: String,
    },
    /// Base64 that cannot be decoded, or that has more than one meaning.
    #[error("expected base64 in `{field}`, found {detail}")]
    BadBase64 {
        /// The field.
        field: &'static str,
        /// What is wrong, and where.
        detail: String,
    },
    /// A CloudEvent with both kinds of data.
    #[error("expected `data` or `data_base64` in the CloudEvent, found both")]
    BothData,
    /// An extension whose value is neither text, a whole number nor a truth value.
    #[error("expected a string, a whole number or a boolean in the extension {name}, found {found}")]
    BadExtension {
        /// The extension, quoted.
        name: String,
        /// The kind of its value.
        found: &'static str,
    },
    /// More attributes than Pub/Sub allows.
    #[error("expected at most {MAX_ATTRIBUTES} attributes or extensions, found more")]
    TooManyAttributes,
    /// An attribute without a name.
    #[error("expected a name for each attribute, found an empty one")]
    EmptyKey,
    /// The same attribute twice.
    #[error("expected each attribute once, found {name} twice")]
    DuplicateAttribute {
        /// The attribute, quoted.
        name: String,
    },
    /// A text longer than Pub/Sub allows.
    #[error("expected at most {limit} bytes in {what}, found {length}")]
    TooLong {
        /// What is too long.
        what: String,
        /// The most there may be, in bytes.
        limit: usize,
        /// Its length in bytes.
        length: usize,
    },
    /// More events in a batch than are taken at once.
    #[error("expected at most {MAX_EVENTS} events in a batch, found more")]
    TooManyEvents,
    /// A body that is not a push wrapper, with headers of no event: perhaps an unwrapped push without metadata.
    #[error(
        "{error}; if the body is a message's bare data, set `writeMetadata` on the push subscription (`noWrapper`), so \
         that its id and attributes come as headers"
    )]
    NotWrapped {
        /// Why it is not a push wrapper.
        error: Box<Self>,
    },
    /// An entry of a batch that is not an event.
    #[error("event [{index}] of the batch, {}: {error}", shown_id(.id.as_deref()))]
    InBatch {
        /// Its index in the batch, from 0.
        index: usize,
        /// Its id, where it has one.
        id: Option<String>,
        /// Why it is not an event.
        error: Box<Self>,
    },
}

impl EventError {
    /// A stable word for programs, logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedFormat { .. } => "unsupported-format",
            Self::UnsupportedSpecversion { .. } => "unsupported-specversion",
            Self::WrongContentType => "wrong-content-type",
            Self::NotUtf8 { .. } => "not-utf8",
            Self::NotJson { .. } => "not-json",
            Self::WrongShape { .. } => "wrong-shape",
            Self::Missing { .. } => "missing-field",
            Self::DuplicateHeader { .. } => "duplicate-header",
            Self::HeaderNotUtf8 { .. } => "header-not-utf8",
            Self::BadBase64 { .. } => "bad-base64",
            Self::BothData => "both-data",
            Self::BadExtension { .. } => "bad-extension",
            Self::TooManyAttributes => "too-many-attributes",
            Self::EmptyKey => "empty-attribute-key",
            Self::DuplicateAttribute { .. } => "duplicate-attribute",
            Self::TooLong { .. } => "too-long",
            Self::TooManyEvents => "too-many-events",
            Self::NotWrapped { error } | Self::InBatch { error, .. } => error.code(),
        }
    }

    /// The id of the event that cannot be read, where it has one.
    pub fn event_id(&self) -> Option<&str> {
        match self {
            Self::InBatch { id, .. } => id.as_deref(),
            _ => None,
        }
    }
}

fn shown_id(id: Option<&str>) -> String {
    id.map_or("without an id".to_owned(), |id| format!("id {}", excerpt(id)))
}

/// The most characters that a message quotes.
const MAX_QUOTED_CHARS: usize = 40;

/// The start of a text from outside, quoted, with unprintable characters escaped.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// [`excerpt`] for bytes that may not be text.
pub(super) fn excerpt_bytes(bytes: &[u8]) -> String {
    // A character has at most four bytes; one more shows that there is more.
    let start = bytes.get(..MAX_QUOTED_CHARS * 4 + 1).unwrap_or(bytes);
    excerpt(&String::from_utf8_lossy(start))
}
