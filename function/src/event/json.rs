//! Reading JSON without copying what needs no copy, and with errors that never quote a whole input.

use std::{borrow::Cow, fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Unexpected, Visitor},
};

use super::base64;
use super::error::{EventError, excerpt};
use super::limits::MAX_ATTRIBUTES;
use crate::json::JsonError;
use infra::text::{not_utf8_text, without_bom};

/// The text of some bytes, without a byte-order mark before it.
pub(super) fn utf8<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, EventError> {
    let looks_like = not_utf8_text(bytes);
    let offset = match (std::str::from_utf8(bytes), looks_like) {
        (Ok(text), None) => return Ok(without_bom(text)),
        // UTF-16 and UTF-32 of ASCII are valid UTF-8 with NULs.
        (Ok(_), Some(_)) => bytes.iter().position(|byte| *byte == 0).unwrap_or_default(),
        (Err(error), _) => error.valid_up_to(),
    };
    let hint = looks_like.map(|found| format!("; it looks like {found}")).unwrap_or_default();
    Err(EventError::NotUtf8 { what, offset, hint })
}

/// Parses all of a text.
pub(super) fn parse<'a, T: Deserialize<'a>>(what: &'static str, text: &'a str) -> Result<T, EventError> {
    crate::json::parse(text).map_err(|error| explain(what, text, &error))
}

/// Why `text` is not `what`.
pub(super) fn explain(what: &'static str, text: &str, error: &JsonError) -> EventError {
    let detail = error.to_string();
    if error.is_data {
        EventError::WrongShape { what, detail }
    } else {
        EventError::NotJson { what, found: excerpt(text), detail }
    }
}

/// A struct that is read from a JSON object, field by field.
///
/// Derived code would take an array for the object, and would quote a string of any length in its error.
pub(super) trait Object<'de>: Default {
    /// What the error says was expected.
    const EXPECTED: &'static str;

    /// Takes the value of a key from `map`; calls [`skip`] for a key that it does not know.
    fn field<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error>;
}

/// Reads an [`Object`].
#[derive(Default)]
pub(super) struct Read<T>(pub(super) T);

impl<'de, T: Object<'de>> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Object<'de>> Visitor<'de> for Fields<T> {
            type Value = Read<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
                Err(E::invalid_type(Unexpected::Other("string"), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut object = T::default();
                while let Some(Text(key)) = map.next_key()? {
                    object.field(key, &mut map)?;
                }
                Ok(Read(object))
            }
        }
        deserializer.deserialize_any(Fields(PhantomData))
    }
}

/// Takes a field that may occur once; `null` counts as missing.
pub(super) fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    slot: &mut Option<T>,
    name: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *slot = map.next_value()?;
    Ok(())
}

/// Skips a value, however deep.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// A JSON string: borrowed from the input unless it holds escapes.
#[derive(Debug, PartialEq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

/// A JSON string of base64, decoded straight from the input. The inner error is base64's, so that it is not mistaken
/// for an error of the JSON around it.
#[derive(Debug)]
pub(super) struct Decoded(pub(super) Result<Bytes, String>);

impl Decoded {
    /// The bytes; none if the field is missing.
    pub(super) fn or_empty(this: Option<Self>, field: &'static str) -> Result<Bytes, EventError> {
        match this {
            Some(Self(decoded)) => decoded.map_err(|detail| EventError::BadBase64 { field, detail }),
            None => Ok(Bytes::new()),
        }
    }
}

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Decoded;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a base64 string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Decoded(base64::decode(text)))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

/// A JSON object's entries in order, repeated keys included; no more than one above the limit on attributes are kept.
pub(super) struct Pairs<'a, V>(pub(super) Vec<(Cow<'a, str>, V)>);

impl<V> Default for Pairs<'_, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Pairs<'de, V> {
    /// Takes the value of a key.
    pub(super) fn take<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        if self.0.len() > MAX_ATTRIBUTES {
            return skip(map);
        }
        self.0.push((key, map.next_value()?));
        Ok(())
    }
}

impl<'de, V: Deserialize<'de>> Object<'de> for Pairs<'de, V> {
    const EXPECTED: &'static str = "an object of attributes";

    fn field<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        self.take(key, map)
    }
}

/// A whole number from 0 to `u32::MAX`, also as a string, as Protobuf's JSON allows.
pub(super) fn small_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    struct Number;
    impl Visitor<'_> for Number {
        type Value = u32;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a whole number below 2^32")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
            number.try_into().map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u32, E> {
            text.parse().map_err(|_| E::invalid_value(Unexpected::Other("string"), &self))
        }
    }
    deserializer.deserialize_any(Number)
}
