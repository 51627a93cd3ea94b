//! The kernels, written once over [`Simd`].
//!
//! Every function here relies on the size checks of the method of [`super::Isa`] that calls it.

use super::simd::{MAX_TILE_ROWS, Simd, Tile};
use super::{ACTIVATION_MAX, Activation, CHANNELS, Linear, Rows};

/// Initial sums of zero.
pub(super) const ZERO_BIAS: &[i32; CHANNELS] = &[0; CHANNELS];

#[inline(always)]
pub(super) unsafe fn spin<S: Simd>(rounds: usize, operations: &mut u64) {
    *operations = unsafe { S::spin(rounds) };
}

#[inline(always)]
pub(super) unsafe fn quantise<S: Simd>(x: &[f32], width: usize, input: Option<&[f32]>, out: &mut Rows) {
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
unsafe fn quantise_row<S: Simd>(width: usize, load: impl Fn(usize) -> S::F, q: *mut u8) -> (f32, f32) {
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
            S::store_u8(q.add(i), S::integer(S::min(S::max(v, least), most)));
            i += S::LANES;
        }
        (scale, zero_point)
    }
}

#[inline(always)]
pub(super) unsafe fn matmul<S: Simd>(x: &Rows, w: &Linear<'_>, activation: Activation, out: &mut [f32], stride: usize) {
    let rows = x.scale.len();
    if rows == 0 {
        return;
    }
    unsafe { S::begin() }
    for c in (0..w.channels).step_by(CHANNELS) {
        for (r, height) in tiles::<S>(rows) {
            unsafe { tile::<S>(x, w, activation, r, height, c, out, stride) }
        }
    }
    unsafe { S::end() }
}

/// Start and height of tiles that cover `rows`, of nearly equal height, a multiple of `STEP`: 16 rows as 8 + 8, not
/// 12 + 4.
#[inline(always)]
pub(super) fn tiles<S: Simd>(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let steps = rows.div_ceil(S::STEP);
    let tiles = rows.div_ceil(S::ROWS);
    (0..tiles).map(move |t| {
        let start = (t * steps / tiles) * S::STEP;
        (start, ((t + 1) * steps / tiles * S::STEP).min(rows) - start)
    })
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
    stride: usize,
) {
    unsafe {
        let mut sums = std::mem::MaybeUninit::<[[i32; CHANNELS]; MAX_TILE_ROWS]>::uninit();
        let sums = sums.as_mut_ptr().cast::<i32>();
        let (a, b) = (x.bytes.as_ptr().add(r * x.depth), w.weight.as_ptr().add(c * w.depth));
        // The first tile of each group of channels prefetches the weights of the next group.
        let ahead = if r == 0 { CHANNELS * w.depth } else { 0 };
        let quads = w.depth / 4;
        let tile =
            Tile { a, stride: x.depth, b, quads, ahead, start: ZERO_BIAS.as_ptr(), out: sums, out_stride: CHANNELS };
        S::tile(rows, tile);
        for lane in (0..CHANNELS).step_by(S::LANES) {
            let scale = S::load(w.scale.as_ptr().add(c + lane));
            let offset = S::load(w.offset.as_ptr().add(c + lane));
            let bias = S::load(w.bias.as_ptr().add(c + lane));
            for i in 0..rows {
                let row_scale = S::splat(*x.scale.get_unchecked(r + i));
                let row_zero = S::splat(-*x.zero.get_unchecked(r + i));
                let sum = S::number(S::load_i32(sums.add(i * CHANNELS + lane)));
                let value = S::mul_add(sum, scale, S::mul(row_zero, offset));
                let mut value = S::mul_add(value, row_scale, bias);
                if activation == Activation::Gelu {
                    value = gelu::<S>(value);
                }
                S::store(out.as_mut_ptr().add((r + i) * stride + c + lane), value);
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
        -4.247_983e-9,
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

#[inline(always)]
pub(super) unsafe fn add_norm<S: Simd>(x: &mut [f32], y: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) {
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
