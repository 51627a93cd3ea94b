//! The forward pass: sequences laid end to end, attention within each, no padding.

use super::format::{Block, Layer, Pooling, Weights};
use super::kernels::{Activation, Head, Isa, Rows};

/// Number of tokens whose feed-forward part is computed at a time, so that its intermediate values stay in the L2
/// cache.
pub(super) const TILE_TOKENS: usize = 96;

/// Memory of one thread's forward passes, kept from pass to pass. Grows with the tokens of a pass, see
/// [`super::CHUNK_TOKENS`].
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// `[tokens][hidden]`
    pub(super) x: Vec<f32>,
    pub(super) lengths: Vec<usize>,
    pub(super) work: Work,
}

/// Buffers for the intermediate values of a layer.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// `[tokens][hidden]`
    pub(super) y: Vec<f32>,
    /// `[tokens][3 · hidden]` or `[tokens][intermediate]`
    pub(super) wide: Vec<f32>,
    /// Inputs of layers that are `hidden` wide.
    pub(super) rows: Rows,
    /// Inputs of layers that are `intermediate` wide.
    wide_rows: Rows,
    pub(super) head: Head,
    /// Output of attention, in a [tensor-parallel](super::tensor_parallel) pass.
    pub(super) context: Vec<f32>,
}

impl Weights<'_> {
    /// Embeds `sequences`, each of at least one token with ids within the vocabulary and no longer than the positions.
    /// `out`: as many unit vectors of the hidden size.
    pub(super) fn forward(&self, isa: Isa, sequences: &[&[u32]], scratch: &mut Scratch, out: &mut [&mut [f32]]) {
        let (h, heads) = (self.metadata.config.hidden_size, self.metadata.config.num_attention_heads);
        let Scratch { x, lengths, work } = scratch;
        lengths.clear();
        lengths.extend(sequences.iter().map(|s| s.len()));
        let tokens: usize = lengths.iter().sum();
        resize(x, tokens * h);
        self.look_up(isa, positioned_tokens(sequences), x, work);
        for block in &self.blocks {
            let Work { y, wide, rows, head, .. } = work;
            let qkv = resize(wide, tokens * 3 * h);
            isa.quantise(x, h, block.qkv.input, rows);
            isa.matmul(rows, &block.qkv.linear, Activation::None, qkv, 3 * h);
            isa.attention(qkv, lengths, heads, h, head, resize(y, tokens * h));
            self.after_attention(isa, block, x, work);
        }
        self.pool(isa, lengths, x, out);
    }

    /// The embeddings of `tokens`, pairs of position and token, after their norm. `x`: `[tokens][hidden]`.
    pub(super) fn look_up(&self, isa: Isa, tokens: impl Iterator<Item = (usize, u32)>, x: &mut [f32], work: &mut Work) {
        let h = self.metadata.config.hidden_size;
        for ((position, token), row) in tokens.zip(x.chunks_exact_mut(h)) {
            let token = token as usize;
            row.fill(0.0);
            isa.add_scaled(&self.words.rows[token * h..][..h], self.words.scale[token], row);
            let (positions, scale) = (&self.positions.rows[position * h..][..h], self.positions.scale[position]);
            isa.add_scaled(positions, scale, row);
        }
        let zero = resize(&mut work.y, x.len());
        zero.fill(0.0);
        let norm = &self.embedding_norm;
        isa.add_norm(x, zero, norm.gamma, norm.beta, self.metadata.config.layer_norm_eps);
    }

    /// The rest of a layer, which treats each token independently. `x`: `[tokens][hidden]`, the layer's input, then
    /// its output; `work.y`: the output of attention.
    pub(super) fn after_attention(&self, isa: Isa, block: &Block<'_>, x: &mut [f32], work: &mut Work) {
        let config = &self.metadata.config;
        let (h, m, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let Work { y, wide, rows, wide_rows, .. } = work;
        let apply = |layer: &Layer<'_>, activation, x: &[f32], width, rows: &mut Rows, out: &mut [f32]| {
            isa.quantise(x, width, layer.input, rows);
            isa.matmul(rows, &layer.linear, activation, out, layer.linear.channels);
        };
        let tokens = x.len() / h;
        let part = tokens.div_ceil(tokens.div_ceil(TILE_TOKENS).max(1)) * h;
        for (x, y) in x.chunks_mut(part).zip(y.chunks_mut(part)) {
            let context = resize(wide, x.len());
            apply(&block.attention_output, Activation::None, y, h, rows, context);
            isa.add_norm(x, context, block.attention_norm.gamma, block.attention_norm.beta, epsilon);
            let hidden = resize(wide, x.len() / h * m);
            apply(&block.intermediate, Activation::Gelu, x, h, rows, hidden);
            apply(&block.output, Activation::None, hidden, m, wide_rows, y);
            isa.add_norm(x, y, block.output_norm.gamma, block.output_norm.beta, epsilon);
        }
    }

    /// Token vectors `x`, of sequences of `lengths`, to one unit vector a sequence.
    pub(super) fn pool(&self, isa: Isa, lengths: &[usize], x: &[f32], out: &mut [&mut [f32]]) {
        let h = self.metadata.config.hidden_size;
        let mut rest = x;
        for (length, out) in lengths.iter().zip(out) {
            let (own, others) = rest.split_at(length * h);
            rest = others;
            isa.mean_unit(if self.metadata.pooling == Pooling::Cls { &own[..h] } else { own }, out);
        }
    }
}

/// Position and token id of every token of `sequences`, end to end.
pub(super) fn positioned_tokens(sequences: &[&[u32]]) -> impl Iterator<Item = (usize, u32)> {
    sequences.iter().flat_map(|s| s.iter().copied().enumerate())
}

/// The first `size` numbers of `buffer`, whose old values remain. Memory is kept from call to call.
pub(super) fn resize(buffer: &mut Vec<f32>, size: usize) -> &mut [f32] {
    buffer.resize(size, 0.0);
    buffer
}
