//! Texts to labels, without training.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use serde::{Deserialize, Serialize};

use super::embeddings::{Embeddings, cosine};
use super::fields::{Array, Texts};
use super::output::{Usage, count, done};
use crate::payload::{self, rejected};
use crate::{Message, Outcome, Task, Work};
use encoder::Encoder;

// Templates, temperatures and centre were chosen on `tests/data/zero_shot.tsv`; `tests/zero_shot.rs` measures what they
// score.

/// A label's vector is the mean of what these give; `{}` is the label.
const TEMPLATES: [&str; 5] = ["{}", "This is about {}.", "topic: {}", "Subject: {}", "This text expresses {}."];
/// Divides cosines before they become probabilities.
const TEMPERATURE: f32 = 0.05;
/// The same with `multi_label`.
const MULTI_LABEL_TEMPERATURE: f32 = 0.07;
/// With `multi_label`, the cosine at which a label is as likely as not.
const MULTI_LABEL_CENTRE: f32 = 0.2;
/// Labels whose vectors are cached, at four bytes a dimension each.
const MAX_CACHED_LABELS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// About what a score takes in a result beside its label, in bytes.
const SCORE_BYTES: usize = 40;
/// The largest result in bytes, roughly: what Pub/Sub takes as a message.
const MAX_RESULT_BYTES: usize = 10_000_000;

/// Task `classify`, zero-shot: `{"input": "text" or ["text", …], "labels": ["billing", …], "multi_label"?: bool}` gives
/// `{"model":…,"data":[{"index":0,"label":"billing","scores":[{"label":"billing","score":0.93}, …]}],"usage":…}`.
///
/// Scores are sorted, best first, and sum to 1; with `multi_label` each stands for itself. For a payload without
/// `labels`, or of plain text, the labels are those that the service declares.
#[derive(Debug)]
pub struct Classify {
    encoder: Arc<Encoder>,
    labels: Vec<String>,
    cache: Mutex<LruCache<String, Arc<[f32]>>>,
}

impl Classify {
    /// On this encoder. `labels` are those of payloads without labels of their own.
    pub fn new(encoder: Arc<Encoder>, labels: Vec<String>) -> Self {
        Self { encoder, labels, cache: Mutex::new(LruCache::new(MAX_CACHED_LABELS)) }
    }

    /// The cached vectors of labels; `None` for a label that is not cached.
    fn cached(&self, labels: &[impl AsRef<str>]) -> Vec<Option<Arc<[f32]>>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        labels.iter().map(|label| cache.get(label.as_ref()).cloned()).collect()
    }

    fn tokenize(&self, label: &str) -> [Vec<u32>; TEMPLATES.len()] {
        TEMPLATES.map(|template| self.encoder.tokenize(&template.replace("{}", label)))
    }
}

#[derive(Deserialize)]
struct Payload {
    input: Texts,
    labels: Option<Array>,
    multi_label: Option<bool>,
}

/// Refuses a result that no message could carry: each text's scores spell out every label.
fn check_size(texts: usize, labels: &[String]) -> Result<(), Outcome> {
    let scores: usize = labels.iter().map(|label| label.len() + SCORE_BYTES).sum();
    if scores.saturating_mul(texts) <= MAX_RESULT_BYTES {
        return Ok(());
    }
    Err(rejected(format!(
        "{texts} texts times {} labels make a result of more than {MAX_RESULT_BYTES} bytes; \
         send fewer of either in a message",
        labels.len()
    )))
}

/// An accepted message.
#[derive(Debug)]
pub struct Input {
    texts: Vec<Vec<u32>>,
    labels: Vec<String>,
    multi_label: bool,
}

#[derive(Serialize)]
struct Classes<'a> {
    model: &'a str,
    data: Vec<Class<'a>>,
    usage: Usage,
}

#[derive(Serialize)]
struct Class<'a> {
    index: usize,
    label: &'a str,
    scores: Vec<Score<'a>>,
}

#[derive(Serialize)]
struct Score<'a> {
    label: &'a str,
    score: f32,
}

impl Task for Classify {
    type Input = Input;

    fn name(&self) -> &str {
        "classify"
    }

    fn accept(&self, message: &Message) -> Result<Work<Input>, Outcome> {
        let (texts, labels, multi_label) = match payload::read::<Payload>(message)? {
            payload::Payload::Object(payload) => {
                (payload.input.checked("input")?, payload.labels, payload.multi_label.unwrap_or_default())
            }
            payload::Payload::Text(text) => (vec![text.to_owned()], None, false),
        };
        let labels = match labels {
            Some(labels) => labels.0.checked("labels")?,
            None if self.labels.is_empty() => {
                return Err(rejected(
                    "`labels` is missing, and this service declares none; \
                     `classify` takes {\"input\": …, \"labels\": [\"…\", …]}",
                ));
            }
            None => self.labels.clone(),
        };
        check_size(texts.len(), &labels)?;
        let texts: Vec<_> = texts.iter().map(|text| self.encoder.tokenize(text)).collect();
        let new: usize = (labels.iter().zip(self.cached(&labels)))
            .filter(|(_, vector)| vector.is_none())
            .map(|(label, _)| count(&self.tokenize(label)))
            .sum();
        let cost = count(&texts) + new;
        Ok(Work { input: Input { texts, labels, multi_label }, cost })
    }

    fn run(&self, batch: &[&Input]) -> Vec<Outcome> {
        // Labels that are not cached run in the same forward pass as the texts.
        let labels: Vec<&str> = batch.iter().flat_map(|input| input.labels.iter().map(String::as_str)).collect();
        let mut vectors = self.cached(&labels);
        let missing: Vec<(usize, [Vec<u32>; TEMPLATES.len()])> = labels
            .iter()
            .zip(&vectors)
            .enumerate()
            .filter(|(_, (_, vector))| vector.is_none())
            .map(|(i, (label, _))| (i, self.tokenize(label)))
            .collect();
        let texts = batch.iter().flat_map(|input| input.texts.iter().map(Vec::as_slice));
        let labels_first = missing.iter().flat_map(|(_, tokens)| tokens.iter().map(Vec::as_slice)).chain(texts);
        let embeddings = Embeddings::of(&self.encoder, labels_first);
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            for (i, (position, _)) in missing.iter().enumerate() {
                let vector = mean((0..TEMPLATES.len()).map(|t| embeddings.get(i * TEMPLATES.len() + t)));
                cache.put(labels[*position].to_owned(), Arc::clone(&vector));
                vectors[*position] = Some(vector);
            }
        }
        let vectors: Vec<Arc<[f32]>> = vectors.into_iter().flatten().collect();

        let (mut next_text, mut next_label) = (missing.len() * TEMPLATES.len(), 0);
        batch
            .iter()
            .map(|input| {
                let labels = &vectors[next_label..][..input.labels.len()];
                let data = (0..input.texts.len())
                    .map(|index| {
                        let text = embeddings.get(next_text + index);
                        let cosines: Vec<f32> = labels.iter().map(|label| cosine(text, label)).collect();
                        class(index, &input.labels, &scores(&cosines, input.multi_label))
                    })
                    .collect();
                next_text += input.texts.len();
                next_label += input.labels.len();
                done(&Classes { model: &self.encoder.metadata().name, data, usage: Usage::new(count(&input.texts)) })
            })
            .collect()
    }
}

fn class<'a>(index: usize, labels: &'a [String], scores: &[f32]) -> Class<'a> {
    let mut scores: Vec<Score<'a>> = labels.iter().zip(scores).map(|(label, &score)| Score { label, score }).collect();
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    Class { index, label: scores.first().map_or("", |best| best.label), scores }
}

/// The mean of unit vectors, of unit length.
fn mean<'a>(vectors: impl Iterator<Item = &'a [f32]>) -> Arc<[f32]> {
    let mut sum: Vec<f32> = Vec::new();
    for vector in vectors {
        sum.resize(vector.len(), 0.0);
        sum.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
    }
    let length = cosine(&sum, &sum).sqrt().max(f32::MIN_POSITIVE);
    sum.iter().map(|v| v / length).collect()
}

/// Probabilities from cosines: soft-max over the labels, or for each label by itself.
fn scores(cosines: &[f32], multi_label: bool) -> Vec<f32> {
    if multi_label {
        let logistic = |c: &f32| 1.0 / (1.0 + ((MULTI_LABEL_CENTRE - c) / MULTI_LABEL_TEMPERATURE).exp());
        return cosines.iter().map(logistic).collect();
    }
    let most = cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = cosines.iter().map(|c| ((c - most) / TEMPERATURE).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}
