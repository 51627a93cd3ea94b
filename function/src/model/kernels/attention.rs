//! Self-attention in integers: for each head, queries times keys and probabilities times values are products of
//! [`Simd::tile`], with keys and values packed like weights.
//!
//! Queries and keys have one scale a head and sequence, values one a channel, probabilities are in steps of 1/127 of the
//! largest of their row. What rounding takes from a row, which in long sequences is the sum of many small probabilities, is given
//! to the mean of all values.

use super::simd::{MOST_ROWS, Simd};
use super::{ACTIVATION_MAX, CHANNELS, PANEL, ROW_PADDING, WEIGHT_MAX};

/// What is added to queries so that they are unsigned.
const ZERO: f32 = 64.0;

/// Memory of one head of one sequence, kept from call to call.
#[derive(Debug, Default)]
pub struct Head {
    /// `[tokens][depth]`
    queries: Vec<u8>,
    /// `[tokens / 16][depth / 4][16][4]`
    keys: Vec<i8>,
    /// `[tokens]`: what [`ZERO`] adds to the products of each key.
    offsets: Vec<f32>,
    /// `[width / 16][tokens / 4][16][4]`
    values: Vec<i8>,
    /// `[width]`
    value_scales: Vec<f32>,
    /// `[width]`
    mean_value: Vec<f32>,
    /// `[MOST_ROWS][tokens]`
    scores: Vec<f32>,
    /// `[MOST_ROWS][tokens]`
    probabilities: Vec<u8>,
}

/// Sizes of one head, padded to what tiles take.
#[derive(Clone, Copy)]
struct Shape {
    length: usize,
    /// `length`, padded for use as channels.
    keys: usize,
    /// `length`, padded for use as depth.
    depth: usize,
    width: usize,
    /// `width`, padded for use as depth.
    width_depth: usize,
    /// From one token to the next.
    stride: usize,
}

#[inline(always)]
pub(super) unsafe fn attention<S: Simd>(
    qkv: &[f32],
    lengths: &[usize],
    heads: usize,
    hidden: usize,
    head: &mut Head,
    out: &mut [f32],
) {
    let width = hidden / heads;
    let mut start = 0;
    unsafe { S::begin() }
    for &length in lengths {
        let shape = Shape {
            length,
            keys: length.next_multiple_of(CHANNELS),
            depth: length.next_multiple_of(4 * S::QUADS),
            width,
            width_depth: width.next_multiple_of(4 * S::QUADS),
            stride: 3 * hidden,
        };
        head.reset(shape);
        for h in 0..heads {
            unsafe {
                let base = qkv.as_ptr().add(start * 3 * hidden + h * width);
                let scale = head.pack::<S>(base, base.add(hidden), shape);
                head.pack_values::<S>(base.add(2 * hidden), shape);
                let out = out.as_mut_ptr().add(start * hidden + h * width);
                head.attend::<S>(scale, shape, out, hidden);
            }
        }
        start += length;
    }
    unsafe { S::end() }
}

impl Head {
    fn reset(&mut self, shape: Shape) {
        // Everything that tiles read beyond tokens and width is nought, or multiplied by nought.
        fn zeros<T: Clone + Default>(v: &mut Vec<T>, size: usize) {
            v.clear();
            v.resize(size, T::default());
        }
        zeros(&mut self.queries, shape.length.next_multiple_of(ROW_PADDING) * shape.width_depth);
        zeros(&mut self.keys, shape.keys * shape.width_depth);
        zeros(&mut self.offsets, shape.keys);
        zeros(&mut self.values, shape.width * shape.depth);
        zeros(&mut self.value_scales, shape.width);
        zeros(&mut self.mean_value, shape.width);
        zeros(&mut self.scores, MOST_ROWS * shape.keys);
        zeros(&mut self.probabilities, MOST_ROWS * shape.depth.max(shape.keys));
    }

    /// Quantises the queries, and the keys into panels. Returns what one unit of a product is worth in a score.
    #[inline(always)]
    unsafe fn pack<S: Simd>(&mut self, q: *const f32, k: *const f32, shape: Shape) -> f32 {
        let Shape { length, width, width_depth, stride, .. } = shape;
        unsafe {
            let (mut most_q, mut most_k) = (S::splat(f32::MIN_POSITIVE), S::splat(f32::MIN_POSITIVE));
            for i in 0..length {
                for d in (0..width).step_by(S::LANES) {
                    let at = i * stride + d;
                    most_q = S::max(most_q, S::abs(S::load(q.add(at))));
                    most_k = S::max(most_k, S::abs(S::load(k.add(at))));
                }
            }
            let (scale_q, scale_k) = (S::most(most_q) / WEIGHT_MAX, S::most(most_k) / WEIGHT_MAX);
            let (inverse_q, inverse_k) = (S::splat(1.0 / scale_q), S::splat(1.0 / scale_k));
            let zero = S::splat(ZERO);
            let mut row = [0i8; 512];
            for i in 0..length {
                let queries = self.queries.as_mut_ptr().add(i * width_depth);
                for d in (0..width).step_by(S::LANES) {
                    let at = i * stride + d;
                    S::store_u8(queries.add(d), S::mul_add(S::load(q.add(at)), inverse_q, zero));
                    S::store_i8(row.as_mut_ptr().add(d), S::mul(S::load(k.add(at)), inverse_k));
                }
                let sum: i32 = row[..width].iter().map(|&k| i32::from(k)).sum();
                *self.offsets.get_unchecked_mut(i) = sum as f32 * ZERO;
                let panel = i / PANEL * PANEL * width_depth + i % PANEL * 4;
                let panel = self.keys.as_mut_ptr().add(panel);
                for quad in 0..width / 4 {
                    let four = row.as_ptr().add(4 * quad).cast::<[i8; 4]>().read();
                    panel.add(quad * 4 * PANEL).cast::<[i8; 4]>().write(four);
                }
            }
            scale_q * scale_k / (width as f32).sqrt()
        }
    }

    /// Quantises the values into panels whose depth is the tokens.
    #[inline(always)]
    unsafe fn pack_values<S: Simd>(&mut self, v: *const f32, shape: Shape) {
        let Shape { length, depth, width, stride, .. } = shape;
        unsafe {
            let mut inverse = [0.0f32; 512];
            for d in (0..width).step_by(S::LANES) {
                let mut most = S::splat(f32::MIN_POSITIVE);
                let mut sum = S::splat(0.0);
                for i in 0..length {
                    let value = S::load(v.add(i * stride + d));
                    most = S::max(most, S::abs(value));
                    sum = S::add(sum, value);
                }
                S::store(self.mean_value.as_mut_ptr().add(d), S::mul(sum, S::splat(1.0 / length as f32)));
                let scale = S::mul(most, S::splat(1.0 / WEIGHT_MAX));
                S::store(self.value_scales.as_mut_ptr().add(d), scale);
                S::store(inverse.as_mut_ptr().add(d), S::div(S::splat(1.0), scale));
            }
            let mut rows = [[0i8; 512]; 4];
            for i in (0..length).step_by(4) {
                for (r, row) in rows.iter_mut().enumerate() {
                    if i + r >= length {
                        row[..width].fill(0);
                        continue;
                    }
                    for d in (0..width).step_by(S::LANES) {
                        let value = S::load(v.add((i + r) * stride + d));
                        S::store_i8(row.as_mut_ptr().add(d), S::mul(value, S::load(inverse.as_ptr().add(d))));
                    }
                }
                for c in 0..width / PANEL {
                    let panel = self.values.as_mut_ptr().add(c * PANEL * depth + i * PANEL);
                    let panel = &mut *panel.cast::<[[i8; 4]; PANEL]>();
                    for (j, four) in panel.iter_mut().enumerate() {
                        let d = c * PANEL + j;
                        *four = [rows[0][d], rows[1][d], rows[2][d], rows[3][d]];
                    }
                }
            }
        }
    }

    /// Scores, soft-max and the weighted values, for as many queries at a time as a tile has rows.
    #[inline(always)]
    unsafe fn attend<S: Simd>(&mut self, scale: f32, shape: Shape, out: *mut f32, hidden: usize) {
        let Shape { length, keys, depth, width, width_depth, .. } = shape;
        let mut sums = std::mem::MaybeUninit::<[[i32; CHANNELS]; MOST_ROWS]>::uninit();
        let sums = sums.as_mut_ptr().cast::<i32>();
        let scores = self.scores.as_mut_ptr();
        let probabilities = self.probabilities.as_mut_ptr();
        let mut i = 0;
        while i < length {
            let rows = (length - i).min(S::ROWS);
            unsafe {
                let mut most = [S::splat(f32::NEG_INFINITY); MOST_ROWS];
                let queries = self.queries.as_ptr().add(i * width_depth);
                for j in (0..keys).step_by(CHANNELS) {
                    let panel = self.keys.as_ptr().add(j * width_depth);
                    S::tile(rows, queries, width_depth, panel, width_depth / 4, sums);
                    for lane in (0..CHANNELS).step_by(S::LANES) {
                        let offset = S::load(self.offsets.as_ptr().add(j + lane));
                        // Beyond the last key there is nothing to attend to.
                        let valid = length.saturating_sub(j + lane).min(S::LANES);
                        for (r, most) in most.iter_mut().enumerate().take(rows) {
                            let sum = S::load_i32(sums.add(r * CHANNELS + lane));
                            let score = S::first(S::sub(sum, offset), valid, f32::NEG_INFINITY);
                            *most = S::max(*most, score);
                            S::store(scores.add(r * keys + j + lane), score);
                        }
                    }
                }
                let (mut inverse, mut lost) = ([0.0; MOST_ROWS], [0.0; MOST_ROWS]);
                let factor = S::splat(scale * std::f32::consts::LOG2_E);
                for r in 0..rows {
                    let most = S::splat(S::most(most[r]));
                    let (mut sum, mut rounded) = (S::splat(0.0), S::splat(0.0));
                    for j in (0..keys).step_by(S::LANES) {
                        let score = S::load(scores.add(r * keys + j));
                        let p = exp2::<S>(S::mul(S::sub(score, most), factor));
                        let p = S::mul(p, S::splat(ACTIVATION_MAX));
                        sum = S::add(sum, p);
                        let p = S::round(p);
                        rounded = S::add(rounded, p);
                        S::store_u8(probabilities.add(r * depth.max(keys) + j), p);
                    }
                    let sum = S::sum(sum);
                    inverse[r] = 1.0 / sum;
                    lost[r] = 1.0 - S::sum(rounded) * inverse[r];
                }
                for c in (0..width).step_by(CHANNELS) {
                    let panel = self.values.as_ptr().add(c * depth);
                    S::tile(rows, probabilities, depth.max(keys), panel, depth / 4, sums);
                    for lane in (0..CHANNELS).step_by(S::LANES) {
                        let scale = S::load(self.value_scales.as_ptr().add(c + lane));
                        let mean = S::load(self.mean_value.as_ptr().add(c + lane));
                        for r in 0..rows {
                            let sum = S::load_i32(sums.add(r * CHANNELS + lane));
                            let value = S::mul(mean, S::splat(lost[r]));
                            let value = S::mul_add(sum, S::mul(scale, S::splat(inverse[r])), value);
                            S::store(out.add((i + r) * hidden + c + lane), value);
                        }
                    }
                }
            }
            i += rows;
        }
    }
}

/// 2ˣ for x ≤ 0, relative error below 10⁻⁷: 2ⁿ by exponent bits, the fraction by a minimax polynomial.
#[inline(always)]
unsafe fn exp2<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let x = S::max(x, S::splat(-126.0));
        let n = S::round(x);
        let f = S::sub(x, n);
        let mut p = S::splat(1.327_64e-3);
        for c in [9.675_54e-3, 5.550_713e-2, 0.240_221_2, 0.693_146_97, 1.000_000_1] {
            p = S::mul_add(p, f, S::splat(c));
        }
        S::mul(p, S::pow2(n))
    }
}
