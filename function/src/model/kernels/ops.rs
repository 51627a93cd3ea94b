//! The kernels, written once over [`Simd`].
//!
//! Every function here relies on the size checks of the method of [`super::Isa`] that calls it.

use super::simd::{MOST_ROWS, Simd};
use super::{ACTIVATION_MAX, Activation, CHANNELS, Linear, Rows};

/// Queries that attention computes together.
pub(super) const QUERIES: usize = 6;

#[inline(always)]
pub(super) unsafe fn quantise<S: Simd>(
    x: &[f32],
    width: usize,
    input: Option<&[f32]>,
    out: &mut Rows,
) {
    for (r, row) in x.chunks_exact(width).enumerate() {
        let depth = out.depth;
        unsafe {
            let q = out.bytes.as_mut_ptr().add(r * depth);
            let (scale, zero) = match input {
                None => quantise_row::<S>(width, |i| S::load(row.as_ptr().add(i)), q),
                Some(input) => quantise_row::<S>(
                    width,
                    |i| S::mul(S::load(row.as_ptr().add(i)), S::load(input.as_ptr().add(i))),
                    q,
                ),
            };
            *out.scale.get_unchecked_mut(r) = scale;
            *out.zero.get_unchecked_mut(r) = zero;
        }
    }
}

/// Quantises one row of `width` numbers, read twice through `load`, to `q`; returns its scale and zero point.
///
/// Zero is always representable, and exactly so.
#[inline(always)]
unsafe fn quantise_row<S: Simd>(
    width: usize,
    load: impl Fn(usize) -> S::F,
    q: *mut u8,
) -> (f32, f32) {
    unsafe {
        let zero = S::splat(0.0);
        let (mut low, mut high) = ([zero; 2], [zero; 2]);
        let mut i = 0;
        while i < width {
            for j in 0..2 {
                let v = load(i + j * S::LANES);
                low[j] = S::min(low[j], v);
                high[j] = S::max(high[j], v);
            }
            i += 2 * S::LANES;
        }
        let low = S::least(S::min(low[0], low[1]));
        let high = S::most(S::max(high[0], high[1]));
        let scale = ((high - low) / ACTIVATION_MAX).max(f32::MIN_POSITIVE);
        let inverse = 1.0 / scale;
        let zero_point = (-low * inverse).round_ties_even();
        let (vi, vz) = (S::splat(inverse), S::splat(zero_point));
        let (least, most) = (S::splat(0.0), S::splat(ACTIVATION_MAX));
        let mut i = 0;
        while i < width {
            let v = S::mul_add(load(i), vi, vz);
            S::store_u8(q.add(i), S::min(S::max(v, least), most));
            i += S::LANES;
        }
        (scale, zero_point)
    }
}

#[inline(always)]
pub(super) unsafe fn matmul<S: Simd>(
    x: &Rows,
    w: &Linear<'_>,
    activation: Activation,
    out: &mut [f32],
) {
    let rows = x.scale.len();
    if rows == 0 {
        return;
    }
    // Tiles of nearly equal height, a multiple of `STEP`: 16 rows as 8 + 8, not 12 + 4.
    let steps = rows.div_ceil(S::STEP);
    let tiles = rows.div_ceil(S::ROWS);
    let (height, taller) = (steps / tiles, steps % tiles);
    unsafe { S::begin() }
    for c in (0..w.channels).step_by(CHANNELS) {
        let mut r = 0;
        for t in 0..tiles {
            let height = ((height + usize::from(t < taller)) * S::STEP).min(rows - r);
            unsafe { tile::<S>(x, w, activation, r, height, c, out) }
            r += height;
        }
    }
    unsafe { S::end() }
}

/// `rows` rows from `r` by 32 channels from `c`: integer products, then scale, bias and activation.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn tile<S: Simd>(
    x: &Rows,
    w: &Linear<'_>,
    activation: Activation,
    r: usize,
    rows: usize,
    c: usize,
    out: &mut [f32],
) {
    unsafe {
        let mut sums = std::mem::MaybeUninit::<[[i32; CHANNELS]; MOST_ROWS]>::uninit();
        let sums = sums.as_mut_ptr().cast::<i32>();
        let (a, b) = (x.bytes.as_ptr().add(r * x.depth), w.weight.as_ptr().add(c * w.depth));
        S::tile(rows, a, x.depth, b, w.depth / 4, sums);
        for lane in (0..CHANNELS).step_by(S::LANES) {
            let scale = S::load(w.scale.as_ptr().add(c + lane));
            let offset = S::load(w.offset.as_ptr().add(c + lane));
            let bias = S::load(w.bias.as_ptr().add(c + lane));
            for i in 0..rows {
                let row_scale = S::splat(*x.scale.get_unchecked(r + i));
                let row_zero = S::splat(-*x.zero.get_unchecked(r + i));
                let sum = S::load_i32(sums.add(i * CHANNELS + lane));
                let value = S::mul_add(sum, scale, S::mul(row_zero, offset));
                let mut value = S::mul_add(value, row_scale, bias);
                if activation == Activation::Gelu {
                    value = gelu::<S>(value);
                }
                S::store(out.as_mut_ptr().add((r + i) * w.channels + c + lane), value);
            }
        }
    }
}

/// x · Φ(x). Φ(x) = ½ + x · p(x²), a weighted minimax fit on |x| ≤ 4.3; beyond, Φ is constant to within 10⁻⁵.
#[inline(always)]
unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    const P: [f32; 9] = [
        0.398_801_95,
        -0.066_155_36,
        0.009_695_006,
        -0.001_071_345,
        8.711_096_6e-5,
        -5.005_538e-6,
        1.901_894_7e-7,
        -4.247_982_7e-9,
        4.196_206e-11,
    ];
    unsafe {
        let t = S::min(S::max(x, S::splat(-4.3)), S::splat(4.3));
        let u = S::mul(t, t);
        let mut p = S::splat(P[8]);
        for c in P[..8].iter().rev() {
            p = S::mul_add(p, u, S::splat(*c));
        }
        S::mul(x, S::mul_add(t, p, S::splat(0.5)))
    }
}

/// eˣ for x ≤ 0, relative error below 10⁻⁶: 2ⁿ by exponent bits, the fraction by a minimax polynomial.
#[inline(always)]
unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let x = S::max(S::mul(x, S::splat(std::f32::consts::LOG2_E)), S::splat(-126.0));
        let n = S::round(x);
        let f = S::sub(x, n);
        let mut p = S::splat(1.327_64e-3);
        for c in [9.675_54e-3, 5.550_713e-2, 0.240_221_2, 0.693_146_97, 1.000_000_1] {
            p = S::mul_add(p, f, S::splat(c));
        }
        S::mul(p, S::pow2(n))
    }
}

#[inline(always)]
pub(super) unsafe fn attention<S: Simd>(
    qkv: &[f32],
    lengths: &[usize],
    heads: usize,
    hidden: usize,
    scratch: &mut Vec<f32>,
    out: &mut [f32],
) {
    let width = hidden / heads;
    let mut start = 0;
    for &length in lengths {
        for head in 0..heads {
            unsafe {
                let base = qkv.as_ptr().add(start * 3 * hidden + head * width);
                let out = out.as_mut_ptr().add(start * hidden + head * width);
                attend::<S>(base, length, width, hidden, scratch.as_mut_ptr(), out);
            }
        }
        start += length;
    }
}

/// One head of one sequence. `base` points at the head's first query; rows are `3 · hidden` apart.
#[inline(always)]
unsafe fn attend<S: Simd>(
    base: *const f32,
    length: usize,
    width: usize,
    hidden: usize,
    scratch: *mut f32,
    out: *mut f32,
) {
    let padded = length.next_multiple_of(16);
    let stride = 3 * hidden;
    let scale = 1.0 / (width as f32).sqrt();
    unsafe {
        // Keys transposed, `[width][padded]`, so that scores of neighbouring keys fill a vector.
        let (keys, scores) = (scratch, scratch.add(width * padded));
        for j in 0..length {
            let key = base.add(hidden + j * stride);
            for d in 0..width {
                *keys.add(d * padded + j) = *key.add(d) * scale;
            }
        }
        // Padding repeats the last key, so that it cannot raise the largest score.
        for j in length..padded {
            for d in 0..width {
                *keys.add(d * padded + j) = *keys.add(d * padded + length - 1);
            }
        }
        let values = base.add(2 * hidden);
        let mut i = 0;
        while i < length {
            let q = base.add(i * stride);
            let o = out.add(i * hidden);
            match length - i {
                1 => attend_rows::<S, 1>(q, keys, values, scores, length, width, hidden, o),
                2 => attend_rows::<S, 2>(q, keys, values, scores, length, width, hidden, o),
                3 => attend_rows::<S, 3>(q, keys, values, scores, length, width, hidden, o),
                4 => attend_rows::<S, 4>(q, keys, values, scores, length, width, hidden, o),
                5 => attend_rows::<S, 5>(q, keys, values, scores, length, width, hidden, o),
                _ => attend_rows::<S, QUERIES>(q, keys, values, scores, length, width, hidden, o),
            }
            i += QUERIES;
        }
    }
}

/// `R` queries of one head against all keys and values of the sequence.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn attend_rows<S: Simd, const R: usize>(
    q: *const f32,
    keys: *const f32,
    values: *const f32,
    scores: *mut f32,
    length: usize,
    width: usize,
    hidden: usize,
    out: *mut f32,
) {
    let padded = length.next_multiple_of(16);
    let stride = 3 * hidden;
    unsafe {
        let mut most = [S::splat(f32::NEG_INFINITY); R];
        let mut j = 0;
        while j < padded {
            let mut s = [S::splat(0.0); R];
            for d in 0..width {
                let k = S::load(keys.add(d * padded + j));
                for (r, s) in s.iter_mut().enumerate() {
                    *s = S::mul_add(S::splat(*q.add(r * stride + d)), k, *s);
                }
            }
            for r in 0..R {
                most[r] = S::max(most[r], s[r]);
                S::store(scores.add(r * padded + j), s[r]);
            }
            j += S::LANES;
        }
        let mut inverse = [0.0; R];
        for r in 0..R {
            let row = scores.add(r * padded);
            let most = S::splat(S::most(most[r]));
            for j in length..padded {
                *row.add(j) = f32::NEG_INFINITY;
            }
            let mut sum = S::splat(0.0);
            let mut j = 0;
            while j < padded {
                let p = exp::<S>(S::sub(S::load(row.add(j)), most));
                sum = S::add(sum, p);
                S::store(row.add(j), p);
                j += S::LANES;
            }
            inverse[r] = 1.0 / S::sum(sum);
        }
        let mut d = 0;
        while d < width {
            let mut low = [S::splat(0.0); R];
            let mut high = [S::splat(0.0); R];
            for j in 0..length {
                let value = values.add(j * stride + d);
                let (v0, v1) = (S::load(value), S::load(value.add(S::LANES)));
                for r in 0..R {
                    let p = S::splat(*scores.add(r * padded + j));
                    low[r] = S::mul_add(p, v0, low[r]);
                    high[r] = S::mul_add(p, v1, high[r]);
                }
            }
            for r in 0..R {
                let scale = S::splat(inverse[r]);
                S::store(out.add(r * hidden + d), S::mul(low[r], scale));
                S::store(out.add(r * hidden + d + S::LANES), S::mul(high[r], scale));
            }
            d += 2 * S::LANES;
        }
    }
}

#[inline(always)]
pub(super) unsafe fn add_norm<S: Simd>(
    x: &mut [f32],
    y: &[f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
) {
    let width = gamma.len();
    let count = 1.0 / width as f32;
    for (x, y) in x.chunks_exact_mut(width).zip(y.chunks_exact(width)) {
        unsafe {
            let x = x.as_mut_ptr();
            let mut sum = S::splat(0.0);
            for i in (0..width).step_by(S::LANES) {
                let v = S::add(S::load(x.add(i)), S::load(y.as_ptr().add(i)));
                sum = S::add(sum, v);
                S::store(x.add(i), v);
            }
            let mean = S::splat(S::sum(sum) * count);
            let mut squares = S::splat(0.0);
            for i in (0..width).step_by(S::LANES) {
                let v = S::sub(S::load(x.add(i)), mean);
                squares = S::mul_add(v, v, squares);
            }
            let inverse = S::splat(1.0 / (S::sum(squares) * count + epsilon).sqrt());
            for i in (0..width).step_by(S::LANES) {
                let v = S::mul(S::sub(S::load(x.add(i)), mean), inverse);
                let v = S::mul_add(v, S::load(gamma.as_ptr().add(i)), S::load(beta.as_ptr().add(i)));
                S::store(x.add(i), v);
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn add_scaled<S: Simd>(row: &[i8], scale: f32, out: &mut [f32]) {
    unsafe {
        let scale = S::splat(scale);
        for i in (0..row.len()).step_by(S::LANES) {
            let o = out.as_mut_ptr().add(i);
            S::store(o, S::mul_add(S::load_i8(row.as_ptr().add(i)), scale, S::load(o)));
        }
    }
}

#[inline(always)]
pub(super) unsafe fn mean_unit<S: Simd>(x: &[f32], out: &mut [f32]) {
    let width = out.len();
    unsafe {
        // Unit length makes the division by the number of rows redundant.
        let mut squares = S::splat(0.0);
        for i in (0..width).step_by(S::LANES) {
            let mut sum = S::splat(0.0);
            for row in x.chunks_exact(width) {
                sum = S::add(sum, S::load(row.as_ptr().add(i)));
            }
            squares = S::mul_add(sum, sum, squares);
            S::store(out.as_mut_ptr().add(i), sum);
        }
        let inverse = S::splat(1.0 / S::sum(squares).sqrt().max(f32::MIN_POSITIVE));
        for i in (0..width).step_by(S::LANES) {
            let o = out.as_mut_ptr().add(i);
            S::store(o, S::mul(S::load(o), inverse));
        }
    }
}
