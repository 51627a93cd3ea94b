//! The forward pass: sequences laid end to end, attention within each, no padding.

use super::file::{Layer, Pooling, Weights};
use super::kernels::{Activation, Head, Isa, Rows};

/// Memory of one forward pass, kept from pass to pass. Grows with the tokens of a pass, see [`super::CHUNK_TOKENS`].
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// `[tokens][hidden]`
    x: Vec<f32>,
    y: Vec<f32>,
    /// `[tokens][3 · hidden]` or `[tokens][intermediate]`
    wide: Vec<f32>,
    rows: Rows,
    head: Head,
    lengths: Vec<usize>,
}

impl Weights {
    /// Embeds `sequences`, each of at least one token with ids within the vocabulary and no longer than the positions.
    /// `out`: `[sequences][hidden]`, unit vectors.
    pub(super) fn forward(&self, isa: Isa, sequences: &[&[u32]], scratch: &mut Scratch, out: &mut [f32]) {
        let config = &self.about.config;
        let h = config.hidden_size;
        let Scratch { x, y, wide, rows, head, lengths } = scratch;
        lengths.clear();
        lengths.extend(sequences.iter().map(|s| s.len()));
        let tokens: usize = lengths.iter().sum();
        x.clear();
        x.resize(tokens * h, 0.0);
        y.clear();
        y.resize(tokens * h, 0.0);
        let places = sequences.iter().flat_map(|s| s.iter().enumerate());
        for ((position, &token), row) in places.zip(x.chunks_exact_mut(h)) {
            let token = token as usize;
            isa.add_scaled(&self.words.rows[token * h..][..h], self.words.scale[token], row);
            let (positions, scale) = (&self.positions.rows[position * h..][..h], self.positions.scale[position]);
            isa.add_scaled(positions, scale, row);
        }
        let epsilon = config.layer_norm_eps;
        isa.add_norm(x, y, self.embedding_norm.gamma, self.embedding_norm.beta, epsilon);

        // One buffer serves both wide results of a layer, which are not needed at once.
        let widest = tokens * (3 * h).max(config.intermediate_size);
        if wide.len() < widest {
            wide.resize(widest, 0.0);
        }
        let mut apply = |layer: &Layer, activation, x: &[f32], out: &mut [f32]| {
            isa.quantise(x, x.len() / tokens, layer.input, rows);
            isa.matmul(rows, &layer.linear, activation, out);
        };
        for block in &self.blocks {
            let qkv = &mut wide[..tokens * 3 * h];
            apply(&block.qkv, Activation::None, x, qkv);
            isa.attention(qkv, lengths, config.num_attention_heads, h, head, y);
            let context = &mut wide[..tokens * h];
            apply(&block.attention_output, Activation::None, y, context);
            isa.add_norm(x, context, block.attention_norm.gamma, block.attention_norm.beta, epsilon);
            let hidden = &mut wide[..tokens * config.intermediate_size];
            apply(&block.intermediate, Activation::Gelu, x, hidden);
            apply(&block.output, Activation::None, hidden, y);
            isa.add_norm(x, y, block.output_norm.gamma, block.output_norm.beta, epsilon);
        }

        let mut rest = &x[..];
        for (sequence, out) in sequences.iter().zip(out.chunks_exact_mut(h)) {
            let (own, others) = rest.split_at(sequence.len() * h);
            rest = others;
            isa.mean_unit(if self.about.pooling == Pooling::Cls { &own[..h] } else { own }, out);
        }
    }
}
