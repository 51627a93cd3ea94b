//! Float32 weights to the bytes that [`super::format`] reads.
//!
//! Weights are symmetric 7-bit integers with one scale an output channel, clipped where that makes the mean square
//! error least; embeddings are symmetric 8-bit integers with one scale a row. Activations are quantised at run time,
//! a scale and a zero point a row. Seven bits on either side let AVX2 add two products in 16 bits, which doubles its
//! speed, and give the same integers on every processor. What that costs in accuracy is won back by moving part of
//! the spread of activation channels into the weights (SmoothQuant, <https://arxiv.org/abs/2211.10438>, α = ½) in the
//! layers that follow a layer norm, measured on [`CALIBRATION`].

use super::format::{Metadata, Writer, pack};
use super::kernels::WEIGHT_MAX;
use super::reference::{ReferenceLinear, ReferenceModel, Tap};
use super::{ModelError, Tokenizer};

/// Texts whose activations set the balance between activation and weight channels: short ones, where single tokens
/// are most extreme, and several scripts.
pub const CALIBRATION: &[&str] = &[
    "",
    "a",
    "!",
    "?",
    "7",
    "中",
    "😀",
    "the",
    "ok",
    "<b>",
    "#",
    "Ж",
    "The weather is nice today in London.",
    "Please cancel my subscription immediately and refund me.",
    "import numpy as np\nprint(np.zeros(3))",
    "Le chat est assis sur la table.",
    "Quantum computers use qubits to do computation; they are hard to build.",
    "机器学习很有趣",
    "<a href='x'>link</a>",
    "Новости дня",
    "When was the treaty of Westphalia signed, and by whom?",
];

/// The largest value of each input channel over the calibration texts.
struct ActivationRange {
    qkv: Vec<f32>,
    intermediate: Vec<f32>,
}

/// Quantises `reference` into a model file. Deterministic: the same input gives the same bytes on every machine.
pub fn quantise(reference: &ReferenceModel, tokenizer: &Tokenizer, metadata: &Metadata) -> Result<Vec<u8>, ModelError> {
    let h = reference.config.hidden_size;
    let mut ranges: Vec<ActivationRange> =
        reference.blocks.iter().map(|_| ActivationRange { qkv: vec![0.0; h], intermediate: vec![0.0; h] }).collect();
    for text in CALIBRATION {
        let mut tokens = Vec::new();
        tokenizer.encode_into(text, metadata.max_tokens, &mut tokens);
        reference.forward(&tokens, &mut |layer, tap, x| {
            let range = &mut ranges[layer];
            let most = match tap {
                Tap::Qkv => &mut range.qkv,
                Tap::Intermediate => &mut range.intermediate,
            };
            for row in x.chunks_exact(h) {
                most.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(v.abs()));
            }
        });
    }

    let mut file = Writer::new(metadata)?;
    let mut vocabulary = Vec::new();
    for token in tokenizer.vocabulary() {
        vocabulary.extend_from_slice(token.as_bytes());
        vocabulary.push(b'\n');
    }
    file.u8("vocabulary", &vocabulary);
    table(&mut file, "words", &reference.words, h);
    table(&mut file, "positions", &reference.positions, h);
    norm(&mut file, "embedding_norm", &reference.embedding_norm);
    for (i, (block, range)) in reference.blocks.iter().zip(&ranges).enumerate() {
        let name = |part: &str| format!("layer.{i}.{part}");
        linear(&mut file, &name("qkv"), &block.qkv, Some(&range.qkv));
        linear(&mut file, &name("attention_output"), &block.attention_output, None);
        norm(&mut file, &name("attention_norm"), &block.attention_norm);
        linear(&mut file, &name("intermediate"), &block.intermediate, Some(&range.intermediate));
        linear(&mut file, &name("output"), &block.output, None);
        norm(&mut file, &name("output_norm"), &block.output_norm);
    }
    file.finish()
}

fn norm(file: &mut Writer, name: &str, (gamma, beta): &(Vec<f32>, Vec<f32>)) {
    file.f32(&format!("{name}.gamma"), gamma);
    file.f32(&format!("{name}.beta"), beta);
}

fn table(file: &mut Writer, name: &str, x: &[f32], width: usize) {
    let mut bytes = Vec::with_capacity(x.len());
    let mut scales = Vec::with_capacity(x.len() / width);
    for row in x.chunks_exact(width) {
        let scale = largest(row) / 127.0;
        bytes.extend(row.iter().map(|v| round(v / scale) as i8));
        scales.push(scale);
    }
    file.i8(&format!("{name}.rows"), &[scales.len(), width], &bytes);
    file.f32(&format!("{name}.scale"), &scales);
}

fn linear(file: &mut Writer, name: &str, layer: &ReferenceLinear, range: Option<&[f32]>) {
    let channels = layer.bias.len();
    let width = layer.weight.len() / channels;
    let mut weight = layer.weight.clone();
    if let Some(range) = range {
        let mut largest = vec![0.0f32; width];
        for row in weight.chunks_exact(width) {
            largest.iter_mut().zip(row).for_each(|(l, w)| *l = l.max(w.abs()));
        }
        let factor: Vec<f32> = range.iter().zip(&largest).map(|(x, w)| (x.max(1e-3) / w.max(1e-4)).sqrt()).collect();
        for row in weight.chunks_exact_mut(width) {
            row.iter_mut().zip(&factor).for_each(|(w, f)| *w *= f);
        }
        file.f32(&format!("{name}.input"), &factor.iter().map(|f| 1.0 / f).collect::<Vec<_>>());
    }
    let mut bytes = Vec::with_capacity(weight.len());
    let mut scales = Vec::with_capacity(channels);
    let mut offsets = Vec::with_capacity(channels);
    for row in weight.chunks_exact(width) {
        let scale = best_scale(row);
        let start = bytes.len();
        bytes.extend(row.iter().map(|w| quantised(*w, scale) as i8));
        let sum: i32 = bytes[start..].iter().map(|&b: &i8| i32::from(b)).sum();
        scales.push(scale);
        offsets.push(sum as f32 * scale);
    }
    let packed = pack(&bytes, width, channels);
    file.i8(&format!("{name}.weight"), &[channels / 16, packed.len() / channels / 4, 16, 4], &packed);
    file.f32(&format!("{name}.scale"), &scales);
    file.f32(&format!("{name}.offset"), &offsets);
    file.f32(&format!("{name}.bias"), &layer.bias);
}

/// The largest magnitude; never zero, so that it can be divided by.
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(f32::MIN_POSITIVE * 1e6, |most, v| most.max(v.abs()))
}

/// Nearest whole number, ties to even, for |x| < 2²².
fn round(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

fn quantised(w: f32, scale: f32) -> f32 {
    round(w / scale).clamp(-WEIGHT_MAX, WEIGHT_MAX)
}

/// The scale of least square error among sixteen that clip up to 30 % of the range.
fn best_scale(row: &[f32]) -> f32 {
    let full = largest(row) / WEIGHT_MAX;
    let mut best = (f32::INFINITY, full);
    for step in 0..16 {
        let scale = full * (1.0 - 0.02 * step as f32);
        let mut errors = [0.0f32; 8];
        for chunk in row.chunks(8) {
            for (e, &w) in errors.iter_mut().zip(chunk) {
                let d = w - quantised(w, scale) * scale;
                *e += d * d;
            }
        }
        let error = errors.iter().sum();
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}
