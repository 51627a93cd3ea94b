//! Texts to vectors.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::embeddings::Embeddings;
use super::fields::{Count, Texts};
use super::output::{Usage, count, done};
use crate::payload::{self, rejected};
use crate::{Message, Outcome, Task, Work};
use encoder::Encoder;

/// Task `embed`: payload and result are those of
/// [OpenAI's embeddings](https://platform.openai.com/docs/api-reference/embeddings).
///
/// `{"input": "text" or ["text", …], "dimensions"?: n, "encoding_format"?: "float" or "base64"}` gives
/// `{"object":"list","model":…,"data":[{"object":"embedding","index":0,"embedding":[…]}],"usage":…}`. Every vector has
/// unit length; with `dimensions` it is the first `n` numbers, scaled to unit length again. In base64 a vector is
/// little-endian float32.
#[derive(Debug)]
pub struct Embed {
    encoder: Arc<Encoder>,
}

impl Embed {
    /// On this encoder.
    pub fn new(encoder: Arc<Encoder>) -> Self {
        Self { encoder }
    }
}

#[derive(Deserialize)]
struct Payload {
    input: Texts,
    dimensions: Option<Count>,
    encoding_format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
enum Format {
    #[default]
    Float,
    Base64,
}

impl TryFrom<String> for Format {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "float" => Ok(Self::Float),
            "base64" => Ok(Self::Base64),
            _ => Err(format!("expected `float` or `base64`, found {text:?}")),
        }
    }
}

/// An accepted message.
#[derive(Debug)]
pub struct Input {
    texts: Vec<Vec<u32>>,
    dimensions: usize,
    format: Format,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    model: &'a str,
    data: Vec<Item>,
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

impl Task for Embed {
    type Input = Input;

    fn name(&self) -> &str {
        "embed"
    }

    fn accept(&self, message: &Message) -> Result<Work<Input>, Outcome> {
        let whole = self.encoder.dimensions();
        let input = match payload::read::<Payload>(message)? {
            payload::Payload::Object(payload) => {
                let dimensions = payload.dimensions.map_or(whole, |count| count.0);
                if !(1..=whole).contains(&dimensions) {
                    return Err(rejected(format!("`dimensions` is {dimensions}; this model gives 1 to {whole}")));
                }
                let texts = payload.input.checked("input")?;
                Input {
                    texts: texts.iter().map(|t| self.encoder.tokenize(t)).collect(),
                    dimensions,
                    format: payload.encoding_format.unwrap_or_default(),
                }
            }
            payload::Payload::Text(text) => {
                Input { texts: vec![self.encoder.tokenize(text)], dimensions: whole, format: Format::Float }
            }
        };
        let cost = count(&input.texts);
        Ok(Work { input, cost })
    }

    fn run(&self, batch: &[&Input]) -> Vec<Outcome> {
        let texts = batch.iter().flat_map(|input| input.texts.iter().map(Vec::as_slice));
        let embeddings = Embeddings::of(&self.encoder, texts);
        let mut next = 0;
        batch
            .iter()
            .map(|input| {
                let data = (0..input.texts.len())
                    .map(|index| {
                        let vector = shorten(embeddings.get(next + index), input.dimensions);
                        let embedding = match input.format {
                            Format::Float => Vector::Float(vector),
                            Format::Base64 => Vector::Base64(
                                STANDARD.encode(vector.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()),
                            ),
                        };
                        Item { object: "embedding", index, embedding }
                    })
                    .collect();
                next += input.texts.len();
                done(&List {
                    object: "list",
                    model: &self.encoder.metadata().name,
                    data,
                    usage: Usage::new(count(&input.texts)),
                })
            })
            .collect()
    }
}

/// The first `dimensions` numbers, of unit length again.
fn shorten(vector: &[f32], dimensions: usize) -> Vec<f32> {
    let part = &vector[..dimensions];
    if part.len() == vector.len() {
        return part.to_vec();
    }
    let length = part.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    part.iter().map(|v| v / length).collect()
}
