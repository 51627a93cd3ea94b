//! Self-attention in integers: for each head, queries times keys and probabilities times values are products of
//! [`Simd::tile`], with keys and values packed like weights.
//!
//! Queries and keys have one scale a head and sequence, values one a channel, probabilities are in steps of 1/127 of
//! the largest of their row. What rounding takes from a row, which in long sequences is the sum of many small
//! probabilities, is given to the mean of all values.

use super::ops::{ZERO_BIAS, tiles};
use super::simd::{MAX_TILE_ROWS, Simd, Tile};
use super::{CHANNELS, PANEL, ROW_PADDING, WEIGHT_MAX};

/// Added to quantised queries to make them unsigned.
const ZERO: i32 = 64;
/// The score of padding beyond the last key: far below any real score, and far from overflow.
const BEYOND: i32 = -(1 << 30);
/// log₂ of [`super::ACTIVATION_MAX`], the largest probability.
const LOG2_ACTIVATION_MAX: f32 = 6.988_684_7;

/// Memory of one head of one sequence, kept from call to call.
#[derive(Debug, Default)]
pub struct Head {
    /// `[tokens][depth]`
    queries: Vec<u8>,
    /// `[tokens / 16][depth / 4][16][4]`
    keys: Vec<i8>,
    /// `[tokens]`: initial value of the products with each key; it cancels what [`ZERO`] adds to them.
    offsets: Vec<i32>,
    /// `[width / 16][tokens / 4][16][4]`
    values: Vec<i8>,
    /// `[width]`
    value_scales: Vec<f32>,
    /// `[width]`
    mean_value: Vec<f32>,
    /// `[MAX_TILE_ROWS][tokens]`
    scores: Vec<i32>,
    /// `[MAX_TILE_ROWS][tokens]`
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
        self.queries.resize(shape.length.next_multiple_of(ROW_PADDING) * shape.width_depth, 0);
        self.keys.resize(shape.keys * shape.width_depth, 0);
        self.offsets.clear();
        self.offsets.resize(shape.keys, BEYOND);
        self.values.resize(shape.width * shape.depth, 0);
        self.value_scales.resize(shape.width, 0.0);
        self.mean_value.resize(shape.width, 0.0);
        self.scores.resize(MAX_TILE_ROWS * shape.keys, 0);
        self.probabilities.resize(MAX_TILE_ROWS * shape.depth.max(shape.keys), 0);
        // Bytes left over from other shapes are harmless where they are multiplied by zero or never read. The keys
        // beyond the width must be zero, and so must the values beyond the last token, which each head clears.
        if shape.width_depth != shape.width {
            self.keys.fill(0);
        }
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
            let zero = S::splat(ZERO as f32);
            let mut row = [0i8; 512];
            for i in 0..length {
                let queries = self.queries.as_mut_ptr().add(i * width_depth);
                for d in (0..width).step_by(S::LANES) {
                    let at = i * stride + d;
                    S::store_u8(queries.add(d), S::integer(S::mul_add(S::load(q.add(at)), inverse_q, zero)));
                    S::store_i8(row.as_mut_ptr().add(d), S::integer(S::mul(S::load(k.add(at)), inverse_k)));
                }
                let sum: i32 = row[..width].iter().map(|&k| i32::from(k)).sum();
                *self.offsets.get_unchecked_mut(i) = -ZERO * sum;
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
            for i in (0..depth).step_by(4) {
                for d in (0..width).step_by(S::LANES) {
                    let inverse = S::load(inverse.as_ptr().add(d));
                    let mut quads = [S::integer(S::splat(0.0)); 4];
                    for (r, quad) in quads.iter_mut().enumerate().take(length.saturating_sub(i)) {
                        *quad = S::integer(S::mul(S::load(v.add((i + r) * stride + d)), inverse));
                    }
                    let panel = self.values.as_mut_ptr().add(d / PANEL * PANEL * depth + i * PANEL);
                    S::store_quads(panel.add(d % PANEL * 4), quads);
                }
            }
        }
    }

    /// Scores, soft-max and the weighted values, for as many queries at a time as a tile has rows.
    #[inline(always)]
    unsafe fn attend<S: Simd>(&mut self, scale: f32, shape: Shape, out: *mut f32, hidden: usize) {
        let Shape { length, keys, depth, width, width_depth, .. } = shape;
        let mut sums = std::mem::MaybeUninit::<[[i32; CHANNELS]; MAX_TILE_ROWS]>::uninit();
        let sums = sums.as_mut_ptr().cast::<i32>();
        let scores = self.scores.as_mut_ptr();
        let probabilities = self.probabilities.as_mut_ptr();
        let factor = scale * std::f32::consts::LOG2_E;
        for (i, rows) in tiles::<S>(length) {
            unsafe {
                let queries = self.queries.as_ptr().add(i * width_depth);
                for j in (0..keys).step_by(CHANNELS) {
                    let panel = self.keys.as_ptr().add(j * width_depth);
                    let offsets = self.offsets.as_ptr().add(j);
                    let tile = Tile {
                        a: queries,
                        stride: width_depth,
                        b: panel,
                        quads: width_depth / 4,
                        ahead: 0,
                        start: offsets,
                        out: scores.add(j),
                        out_stride: keys,
                    };
                    S::tile(rows, tile);
                }
                let (mut inverse, mut lost) = ([0.0; MAX_TILE_ROWS], [0.0; MAX_TILE_ROWS]);
                for r in 0..rows {
                    let scores = scores.add(r * keys);
                    let mut most = S::load_i32(scores);
                    for j in (S::LANES..keys).step_by(S::LANES) {
                        most = S::max_i32(most, S::load_i32(scores.add(j)));
                    }
                    let most = S::splat(S::most(S::number(most)));
                    let largest = S::splat(LOG2_ACTIVATION_MAX);
                    let (mut sum, mut rounded) = (S::splat(0.0), S::integer(S::splat(0.0)));
                    for j in (0..keys).step_by(S::LANES) {
                        let below = S::sub(S::number(S::load_i32(scores.add(j))), most);
                        let p = exp2::<S>(S::mul_add(below, S::splat(factor), largest));
                        sum = S::add(sum, p);
                        let p = S::integer(p);
                        rounded = S::add_i32(rounded, p);
                        S::store_u8(probabilities.add(r * depth.max(keys) + j), p);
                    }
                    inverse[r] = 1.0 / S::sum(sum);
                    lost[r] = 1.0 - S::sum(S::number(rounded)) * inverse[r];
                }
                for c in (0..width).step_by(CHANNELS) {
                    let panel = self.values.as_ptr().add(c * depth);
                    let stride = depth.max(keys);
                    let tile = Tile {
                        a: probabilities,
                        stride,
                        b: panel,
                        quads: depth / 4,
                        ahead: 0,
                        start: ZERO_BIAS.as_ptr(),
                        out: sums,
                        out_stride: CHANNELS,
                    };
                    S::tile(rows, tile);
                    for lane in (0..CHANNELS).step_by(S::LANES) {
                        let scale = S::load(self.value_scales.as_ptr().add(c + lane));
                        let mean = S::load(self.mean_value.as_ptr().add(c + lane));
                        for r in 0..rows {
                            let sum = S::number(S::load_i32(sums.add(r * CHANNELS + lane)));
                            let value = S::mul(mean, S::splat(lost[r]));
                            let value = S::mul_add(sum, S::mul(scale, S::splat(inverse[r])), value);
                            S::store(out.add((i + r) * hidden + c + lane), value);
                        }
                    }
                }
            }
        }
    }
}

/// 2ˣ for x < 7, relative error below 10⁻⁴, a hundredth of what rounding takes from the largest probability: 2ⁿ by
/// exponent bits, the fraction by a minimax polynomial.
#[inline(always)]
unsafe fn exp2<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let x = S::max(x, S::splat(-126.0));
        let n = S::round(x);
        let f = S::sub(x, n);
        let mut p = S::splat(0.055_171_67);
        for c in [0.242_611_12, 0.693_261, 0.999_928_1] {
            p = S::mul_add(p, f, S::splat(c));
        }
        S::mul(p, S::pow2(n))
    }
}
