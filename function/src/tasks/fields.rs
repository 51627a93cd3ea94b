//! What the fields of payloads hold.

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Outcome;
use crate::payload::rejected;

/// Most texts, labels or documents of one message.
pub const MAX_TEXTS: usize = 2048;

/// The texts of an array, or one text alone. Texts beyond [`MAX_TEXTS`] are counted and not kept: a payload of many
/// small texts would fill many times its own size.
#[derive(Debug)]
pub(super) struct Texts {
    texts: Vec<String>,
    count: usize,
}

/// [`Texts`] of an array alone.
#[derive(Debug)]
pub(super) struct Array(pub(super) Texts);

impl Texts {
    /// The texts, at least one and at most [`MAX_TEXTS`].
    pub(super) fn checked(self, field: &str) -> Result<Vec<String>, Outcome> {
        match self.count {
            0 => Err(rejected(format!("`{field}` is empty; it takes 1 to {MAX_TEXTS} texts"))),
            1..=MAX_TEXTS => Ok(self.texts),
            count => Err(rejected(format!("`{field}` has {count} texts; at most {MAX_TEXTS} fit in a message"))),
        }
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor { alone: true })
    }
}

impl<'de> Deserialize<'de> for Array {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor { alone: false }).map(Self)
    }
}

struct TextsVisitor {
    alone: bool,
}

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.alone { "a text or an array of texts" } else { "an array of texts" })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
        if self.alone {
            Ok(Texts { texts: vec![text.to_owned()], count: 1 })
        } else {
            Err(E::invalid_type(Unexpected::Other("text"), &self))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while texts.len() < MAX_TEXTS {
            match array.next_element()? {
                Some(text) => texts.push(text),
                None => return Ok(Texts { count: texts.len(), texts }),
            }
        }
        let mut count = texts.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Texts { texts, count })
    }
}

/// A whole number, 0 or more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl Visitor<'_> for CountVisitor {
            type Value = Count;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number, 0 or more")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
                // A number beyond the range counts as the largest.
                Ok(Count(usize::try_from(number).unwrap_or(usize::MAX)))
            }
        }
        deserializer.deserialize_u64(CountVisitor)
    }
}
