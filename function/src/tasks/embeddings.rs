//! Sequences to vectors, through the encoder.

use std::collections::HashMap;

use encoder::Encoder;

/// The embeddings of many sequences. Equal sequences were run once.
pub(super) struct Embeddings {
    vectors: Vec<f32>,
    width: usize,
    /// For each sequence, the position of its vector.
    positions: Vec<usize>,
}

impl Embeddings {
    pub(super) fn of<'a>(encoder: &Encoder, sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut unique = Vec::new();
        let mut seen = HashMap::new();
        let positions = sequences
            .into_iter()
            .map(|sequence| {
                *seen.entry(sequence).or_insert_with(|| {
                    unique.push(sequence);
                    unique.len() - 1
                })
            })
            .collect();
        Self { vectors: encoder.embed(&unique), width: encoder.dimensions(), positions }
    }

    /// The unit vector of the sequence at `index`.
    pub(super) fn get(&self, index: usize) -> &[f32] {
        &self.vectors[self.positions[index] * self.width..][..self.width]
    }
}

/// The cosine of two unit vectors.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
