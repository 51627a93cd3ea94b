//! The tasks that come with the project, all on one [`Encoder`]: [`Embed`], [`Classify`], [`Rerank`].
//!
//! A payload that is a JSON object has the fields that each task names; any other valid UTF-8 is taken as `{"input": text}`.
//! Fields that a task does not know are ignored, so that a payload may carry what its sender needs.

mod classify;
mod embed;
mod rerank;

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use classify::Classify;
pub use embed::Embed;
pub use rerank::Rerank;

use crate::Outcome;
use encoder::Encoder;

/// Most texts, labels or documents of one message.
pub const MAX_TEXTS: usize = 2048;

/// The texts of an array, or one text alone. What is beyond [`MAX_TEXTS`] is counted and not kept: a payload of many small texts
/// would fill many times its own size.
#[derive(Debug)]
struct Texts {
    texts: Vec<String>,
    count: usize,
}

/// [`Texts`] of an array alone.
#[derive(Debug)]
struct Array(Texts);

impl Texts {
    /// The texts, at least one and at most [`MAX_TEXTS`].
    fn checked(self, field: &str) -> Result<Vec<String>, Outcome> {
        match self.count {
            0 => Err(bad_payload(format!("`{field}` is empty; it takes 1 to {MAX_TEXTS} texts"))),
            1..=MAX_TEXTS => Ok(self.texts),
            count => Err(bad_payload(format!("`{field}` has {count} texts; at most {MAX_TEXTS} fit in a message"))),
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

fn bad_payload(detail: impl Into<String>) -> Outcome {
    Outcome::rejected("bad-payload", detail)
}

/// Reads a payload: the fields of a JSON object, or `None` and the text as it is.
fn read_payload<T: DeserializeOwned>(data: &[u8]) -> Result<Result<T, &str>, Outcome> {
    let text = std::str::from_utf8(data).map_err(|error| {
        bad_payload(format!("the payload is not UTF-8 text: byte {} is invalid", error.valid_up_to()))
    })?;
    if !text.trim_ascii_start().starts_with('{') {
        return Ok(Err(text));
    }
    match serde_json::from_str(text) {
        Ok(fields) => Ok(Ok(fields)),
        // Braces alone make no JSON object: `{name} is missing` is a text. Too deep to read is not.
        Err(error) if error.is_data() || error.to_string().starts_with("recursion limit") => {
            Err(bad_payload(format!("the payload's JSON object: {error}")))
        }
        Err(error) => match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(bad_payload(format!("the payload's JSON object: {error}"))),
            Err(_) => Ok(Err(text)),
        },
    }
}

/// Tokens that a message cost, under OpenAI's names.
#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    fn new(tokens: usize) -> Self {
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}

fn count<'a>(sequences: impl IntoIterator<Item = &'a Vec<u32>>) -> usize {
    sequences.into_iter().map(Vec::len).sum()
}

/// The result as JSON text.
fn done(result: &impl Serialize) -> Outcome {
    match serde_json::to_vec(result) {
        Ok(json) => Outcome::Done(json.into()),
        Err(error) => Outcome::retry(format!("the result could not be written as JSON: {error}")),
    }
}

/// The embeddings of many sequences, of which equal ones were run once.
struct Embeddings {
    vectors: Vec<f32>,
    width: usize,
    places: Vec<usize>,
}

impl Embeddings {
    fn of<'a>(encoder: &Encoder, sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut unique = Vec::new();
        let mut seen = HashMap::new();
        let places = sequences
            .into_iter()
            .map(|sequence| {
                *seen.entry(sequence).or_insert_with(|| {
                    unique.push(sequence);
                    unique.len() - 1
                })
            })
            .collect();
        Self { vectors: encoder.embed(&unique), width: encoder.dimensions(), places }
    }

    /// The unit vector of the sequence at `index`.
    fn get(&self, index: usize) -> &[f32] {
        &self.vectors[self.places[index] * self.width..][..self.width]
    }
}

/// The cosine of two unit vectors.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
