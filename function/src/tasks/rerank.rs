//! Documents in the order of their relevance to a query.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::embeddings::{Embeddings, cosine};
use super::fields::{Array, Count};
use super::output::{Usage, count, done};
use crate::payload::{self, rejected};
use crate::{Message, Outcome, Task, Work};
use encoder::Encoder;

/// Task `rerank`: `{"query": "…", "documents": ["…", …], "top_n"?: n}` gives
/// `{"model":…,"results":[{"index":2,"relevance_score":0.83}, …],"usage":…}`, best first.
///
/// The order is that of the cosine between query and document; the score is the cosine, with negative ones given as 0.
#[derive(Debug)]
pub struct Rerank {
    encoder: Arc<Encoder>,
}

impl Rerank {
    /// On this encoder.
    pub fn new(encoder: Arc<Encoder>) -> Self {
        Self { encoder }
    }
}

#[derive(Deserialize)]
struct Payload {
    query: String,
    documents: Array,
    top_n: Option<Count>,
}

/// An accepted message.
#[derive(Debug)]
pub struct Input {
    /// The query, then the documents.
    texts: Vec<Vec<u32>>,
    top_n: usize,
}

#[derive(Serialize)]
struct Ranking<'a> {
    model: &'a str,
    results: Vec<Relevance>,
    usage: Usage,
}

#[derive(Serialize)]
struct Relevance {
    index: usize,
    relevance_score: f32,
}

impl Task for Rerank {
    type Input = Input;

    fn name(&self) -> &str {
        "rerank"
    }

    fn accept(&self, message: &Message) -> Result<Work<Input>, Outcome> {
        let payload::Payload::Object(payload) = payload::read::<Payload>(message)? else {
            let right = "`rerank` takes {\"query\": …, \"documents\": […]}";
            return Err(rejected(format!("the payload is not a JSON object; {right}")));
        };
        let documents = payload.documents.0.checked("documents")?;
        let top_n = payload.top_n.map_or(documents.len(), |count| count.0);
        if top_n == 0 {
            return Err(rejected("`top_n` is 0; it takes 1 or more"));
        }
        let texts: Vec<_> =
            std::iter::once(&payload.query).chain(&documents).map(|text| self.encoder.tokenize(text)).collect();
        let cost = count(&texts);
        Ok(Work { input: Input { texts, top_n }, cost })
    }

    fn run(&self, batch: &[&Input]) -> Vec<Outcome> {
        let texts = batch.iter().flat_map(|input| input.texts.iter().map(Vec::as_slice));
        let embeddings = Embeddings::of(&self.encoder, texts);
        let mut next = 0;
        batch
            .iter()
            .map(|input| {
                let query = embeddings.get(next);
                let mut results: Vec<(usize, f32)> = (0..input.texts.len() - 1)
                    .map(|index| (index, cosine(query, embeddings.get(next + 1 + index))))
                    .collect();
                next += input.texts.len();
                // Stable, so equal documents keep their order.
                results.sort_by(|a, b| b.1.total_cmp(&a.1));
                results.truncate(input.top_n);
                done(&Ranking {
                    model: &self.encoder.metadata().name,
                    results: results
                        .into_iter()
                        .map(|(index, score)| Relevance { index, relevance_score: score.clamp(0.0, 1.0) })
                        .collect(),
                    usage: Usage::new(count(&input.texts)),
                })
            })
            .collect()
    }
}
