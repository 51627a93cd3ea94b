//! The float32 encoder, plain and exact: it calibrates the quantisation and is what the quantised one is compared with.
//!
//! Additions happen in one fixed order and no operation depends on the processor, so that quantising gives the same
//! bytes everywhere.

use safetensors::{Dtype, SafeTensors};

use super::{Config, ModelError};

/// Float32 weights of a BERT encoder. Matrices are `[out][in]`, as PyTorch stores them.
#[derive(Debug)]
pub struct ReferenceModel {
    pub(super) config: Config,
    pub(super) words: Vec<f32>,
    /// Position embeddings with the embedding of token type 0 added.
    pub(super) positions: Vec<f32>,
    pub(super) embedding_norm: (Vec<f32>, Vec<f32>),
    pub(super) blocks: Vec<ReferenceBlock>,
}

/// A linear layer: weight `[out][in]`, bias `[out]`.
#[derive(Debug)]
pub(super) struct ReferenceLinear {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

#[derive(Debug)]
pub(super) struct ReferenceBlock {
    /// Queries, keys and values, one under the other.
    pub(super) qkv: ReferenceLinear,
    pub(super) attention_output: ReferenceLinear,
    pub(super) attention_norm: (Vec<f32>, Vec<f32>),
    pub(super) intermediate: ReferenceLinear,
    pub(super) output: ReferenceLinear,
    pub(super) output_norm: (Vec<f32>, Vec<f32>),
}

/// The layers whose input comes straight from a layer norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tap {
    Qkv,
    Intermediate,
}

struct Tensors<'a> {
    all: SafeTensors<'a>,
    prefix: &'static str,
}

impl Tensors<'_> {
    fn get(&self, name: &str, count: usize) -> Result<Vec<f32>, ModelError> {
        let name = format!("{}{name}", self.prefix);
        let wrong = |what: String| ModelError::new("model.safetensors", format!("tensor `{name}`: {what}"));
        let tensor = self.all.tensor(&name).map_err(|error| wrong(error.to_string()))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(wrong(format!("of type {:?}; only F32 is read", tensor.dtype())));
        }
        let values: Vec<f32> =
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if values.len() != count {
            return Err(wrong(format!("shape {:?}; config.json asks for {count} values", tensor.shape())));
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(wrong("holds a value that is not a finite number".to_owned()));
        }
        Ok(values)
    }

    fn linear(&self, name: &str, width: usize, channels: usize) -> Result<ReferenceLinear, ModelError> {
        Ok(ReferenceLinear {
            weight: self.get(&format!("{name}.weight"), width * channels)?,
            bias: self.get(&format!("{name}.bias"), channels)?,
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
        Ok((self.get(&format!("{name}.weight"), width)?, self.get(&format!("{name}.bias"), width)?))
    }
}

impl ReferenceModel {
    /// Reads the bytes of a `model.safetensors` that holds a `BertModel`, with or without the prefix `bert.`.
    pub fn read(file: &[u8], config: Config) -> Result<Self, ModelError> {
        let all =
            SafeTensors::deserialize(file).map_err(|error| ModelError::new("model.safetensors", error.to_string()))?;
        let prefixed = all.tensor("bert.embeddings.word_embeddings.weight").is_ok();
        let tensors = Tensors { all, prefix: if prefixed { "bert." } else { "" } };
        let (h, m) = (config.hidden_size, config.intermediate_size);
        let mut positions = tensors.get("embeddings.position_embeddings.weight", config.max_position_embeddings * h)?;
        let types = {
            let name = format!("{}embeddings.token_type_embeddings.weight", tensors.prefix);
            let rows = tensors.all.tensor(&name).map_or(0, |t| t.shape().first().copied().unwrap_or(0));
            tensors.get("embeddings.token_type_embeddings.weight", rows.max(1).saturating_mul(h))?
        };
        for row in positions.chunks_exact_mut(h) {
            row.iter_mut().zip(&types).for_each(|(p, t)| *p += t);
        }
        let blocks = (0..config.num_hidden_layers)
            .map(|i| {
                let name = |part: &str| format!("encoder.layer.{i}.{part}");
                let mut qkv = ReferenceLinear { weight: Vec::new(), bias: Vec::new() };
                for part in ["query", "key", "value"] {
                    let one = tensors.linear(&name(&format!("attention.self.{part}")), h, h)?;
                    qkv.weight.extend(one.weight);
                    qkv.bias.extend(one.bias);
                }
                Ok(ReferenceBlock {
                    qkv,
                    attention_output: tensors.linear(&name("attention.output.dense"), h, h)?,
                    attention_norm: tensors.norm(&name("attention.output.LayerNorm"), h)?,
                    intermediate: tensors.linear(&name("intermediate.dense"), h, m)?,
                    output: tensors.linear(&name("output.dense"), m, h)?,
                    output_norm: tensors.norm(&name("output.LayerNorm"), h)?,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self {
            words: tensors.get("embeddings.word_embeddings.weight", config.vocab_size * h)?,
            positions,
            embedding_norm: tensors.norm("embeddings.LayerNorm", h)?,
            blocks,
            config,
        })
    }

    /// The token vectors of one sequence, `[tokens][hidden]`. `tap` sees the input of every layer of [`Tap`].
    pub(super) fn forward(&self, tokens: &[u32], tap: &mut dyn FnMut(usize, Tap, &[f32])) -> Vec<f32> {
        let h = self.config.hidden_size;
        let mut x = Vec::with_capacity(tokens.len() * h);
        for (position, &token) in tokens.iter().enumerate() {
            let word = &self.words[token as usize * h..][..h];
            x.extend(word.iter().zip(&self.positions[position * h..][..h]).map(|(w, p)| w + p));
        }
        norm(&mut x, &self.embedding_norm, self.config.layer_norm_eps);
        for (i, block) in self.blocks.iter().enumerate() {
            tap(i, Tap::Qkv, &x);
            let context = self.attention(&linear(&x, &block.qkv));
            let y = linear(&context, &block.attention_output);
            x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
            norm(&mut x, &block.attention_norm, self.config.layer_norm_eps);
            tap(i, Tap::Intermediate, &x);
            let mut hidden = linear(&x, &block.intermediate);
            for v in &mut hidden {
                *v = 0.5 * *v * (1.0 + libm::erff(*v * std::f32::consts::FRAC_1_SQRT_2));
            }
            let y = linear(&hidden, &block.output);
            x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
            norm(&mut x, &block.output_norm, self.config.layer_norm_eps);
        }
        x
    }

    fn attention(&self, qkv: &[f32]) -> Vec<f32> {
        let (h, heads) = (self.config.hidden_size, self.config.num_attention_heads);
        let (width, tokens) = (h / heads, qkv.len() / (3 * h));
        let at = |token: usize, part: usize, head: usize| &qkv[token * 3 * h + part * h + head * width..][..width];
        let scale = 1.0 / (width as f32).sqrt();
        let mut out = vec![0.0; tokens * h];
        for head in 0..heads {
            for i in 0..tokens {
                let mut scores: Vec<f32> = (0..tokens).map(|j| dot(at(i, 0, head), at(j, 1, head)) * scale).collect();
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut sum = 0.0;
                for s in &mut scores {
                    *s = libm::expf(*s - most);
                    sum += *s;
                }
                let out = &mut out[i * h + head * width..][..width];
                for (j, s) in scores.iter().enumerate() {
                    out.iter_mut().zip(at(j, 2, head)).for_each(|(o, v)| *o += s / sum * v);
                }
            }
        }
        out
    }
}

/// Sixteen partial sums, so that the compiler may use vectors without changing the order of additions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

fn linear(x: &[f32], layer: &ReferenceLinear) -> Vec<f32> {
    let channels = layer.bias.len();
    let width = layer.weight.len() / channels;
    let mut out = Vec::with_capacity(x.len() / width * channels);
    for x in x.chunks_exact(width) {
        out.extend(layer.weight.chunks_exact(width).zip(&layer.bias).map(|(w, b)| dot(x, w) + b));
    }
    out
}

fn norm(x: &mut [f32], (gamma, beta): &(Vec<f32>, Vec<f32>), epsilon: f32) {
    let width = gamma.len();
    for row in x.chunks_exact_mut(width) {
        let mean = row.iter().sum::<f32>() / width as f32;
        let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for (i, v) in row.iter_mut().enumerate() {
            *v = (*v - mean) * inverse * gamma[i] + beta[i];
        }
    }
}
