//! The idempotency key: what makes two deliveries the same work.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Message;
use crate::digest::sha256_hex;

/// The attribute with which a producer names its work.
pub const ATTRIBUTE: &str = "idempotency-key";

/// The longest key or encoded key in bytes. Well under Pub/Sub's 1024 for an attribute and, with prefix and task, under
/// Cloud Storage's 1024 for an object name.
pub const MAX_KEY: usize = 512;

/// Everything but the unreserved characters of RFC 3986.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'~').remove(b'-');

impl Message {
    /// The attribute `idempotency-key`, else source and id joined by `/`: for Pub/Sub the topic (or, where the event
    /// names only that, the subscription) and the message id. Keys over [`MAX_KEY`] bytes become `sha256=` and their
    /// digest.
    pub fn key(&self) -> Cow<'_, str> {
        match self.attributes.get(ATTRIBUTE) {
            Some(key) if !key.is_empty() => bounded(Cow::Borrowed(key)),
            _ => bounded(Cow::Owned(format!("{}/{}", self.source, self.id))),
        }
    }
}

/// A key as one segment of an object name: percent-encoded but for `A-Z a-z 0-9 . _ ~ -`, so that different keys give
/// different segments; over [`MAX_KEY`] bytes `sha256=` and the digest of the key, which no encoded key looks like.
pub fn object_segment(key: &str) -> Cow<'_, str> {
    let encoded: Cow<'_, str> = utf8_percent_encode(key, &ESCAPED).into();
    if encoded.len() > MAX_KEY { Cow::Owned(digest(key)) } else { encoded }
}

fn bounded(key: Cow<'_, str>) -> Cow<'_, str> {
    if key.len() > MAX_KEY { Cow::Owned(digest(&key)) } else { key }
}

fn digest(key: &str) -> String {
    format!("sha256={}", sha256_hex(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(attribute: Option<&str>) -> Message {
        Message {
            id: "17".into(),
            source: "//pubsub.googleapis.com/projects/p/topics/t".into(),
            attributes: attribute.map(|key| (ATTRIBUTE.to_owned(), key.to_owned())).into_iter().collect(),
            ..Message::default()
        }
    }

    #[test]
    fn attribute_wins_over_source_and_id() {
        assert_eq!(message(Some("order 1")).key(), "order 1");
        assert_eq!(message(None).key(), "//pubsub.googleapis.com/projects/p/topics/t/17");
        assert_eq!(message(Some("")).key(), message(None).key());
    }

    #[test]
    fn long_keys_are_hashed() {
        let long = message(Some(&"x".repeat(MAX_KEY + 1)));
        assert_eq!(long.key().len(), "sha256=".len() + 64);
        assert_ne!(long.key(), message(Some(&"x".repeat(MAX_KEY + 2))).key());
        assert_eq!(message(Some(&"x".repeat(MAX_KEY))).key().len(), MAX_KEY);
    }

    #[test]
    fn segments_are_readable_and_safe() {
        assert_eq!(object_segment("a-Z_0.9~"), "a-Z_0.9~");
        assert_eq!(object_segment("a/b c%\n#?é="), "a%2Fb%20c%25%0A%23%3F%C3%A9%3D");
        // Each of these characters takes nine bytes when encoded.
        assert!(object_segment(&"語".repeat(57)).starts_with("sha256="));
        assert!(object_segment(&"語".repeat(56)).starts_with("%E8"));
    }

    proptest! {
        #[test]
        fn segments_are_bounded_and_can_be_read_back(key in "\\PC{0,200}") {
            let segment = object_segment(&key);
            prop_assert!(segment.len() <= MAX_KEY);
            prop_assert!(segment.bytes().all(|b| b.is_ascii_graphic() && !b"/#?[]*".contains(&b)));
            // Injective: what can be decoded to the key it came from cannot have come from another.
            if !segment.starts_with("sha256=") {
                let decoded = percent_encoding::percent_decode_str(&segment).decode_utf8();
                prop_assert_eq!(decoded.ok(), Some(Cow::Borrowed(key.as_str())));
            }
        }
    }
}
