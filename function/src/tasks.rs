//! The tasks that come with the project, all on one [`Encoder`]: [`Embed`], [`Classify`], [`Rerank`].
//!
//! A payload that is a JSON object has the fields that each task names; any other text is taken as `{"input": text}`, see
//! [`payload::read()`](crate::payload::read()). A field that may be left out may be `null` as well. Fields that a task does not
//! know are ignored, so that a payload may carry what its sender needs.

mod classify;
mod embed;
mod fields;
mod rerank;

use std::collections::HashMap;

use serde::Serialize;

pub use classify::Classify;
pub use embed::Embed;
pub use rerank::Rerank;

use crate::Outcome;
use encoder::Encoder;

/// Most texts, labels or documents of one message.
pub const MAX_TEXTS: usize = 2048;

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
