//! Plain Rust, for every processor; the tests compare the other instruction sets with it.

use super::simd::{Simd, Tile};

#[derive(Clone, Copy)]
pub(crate) struct Portable;

const N: usize = 8;

#[inline(always)]
fn map(f: impl FnMut(usize) -> f32) -> [f32; N] {
    std::array::from_fn(f)
}

impl Simd for Portable {
    type F = [f32; N];
    type I = [i32; N];
    const LANES: usize = N;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(x: *const f32) -> Self::F {
        unsafe { x.cast::<Self::F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(x: *mut f32, v: Self::F) {
        unsafe { x.cast::<Self::F>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_i32(x: *const i32) -> Self::I {
        unsafe { x.cast::<Self::I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn number(v: Self::I) -> Self::F {
        map(|i| v[i] as f32)
    }
    #[inline(always)]
    unsafe fn integer(v: Self::F) -> Self::I {
        let v = unsafe { Self::round(v) };
        std::array::from_fn(|i| v[i] as i32)
    }
    #[inline(always)]
    unsafe fn load_i8(x: *const i8) -> Self::F {
        let x = unsafe { x.cast::<[i8; N]>().read_unaligned() };
        map(|i| f32::from(x[i]))
    }
    #[inline(always)]
    unsafe fn store_u8(x: *mut u8, v: Self::I) {
        unsafe { x.cast::<[u8; N]>().write_unaligned(v.map(|v| v as u8)) }
    }
    #[inline(always)]
    unsafe fn store_i8(x: *mut i8, v: Self::I) {
        unsafe { x.cast::<[i8; N]>().write_unaligned(v.map(|v| v as i8)) }
    }
    #[inline(always)]
    unsafe fn store_quads(x: *mut i8, v: [Self::I; 4]) {
        let quads: [[i8; 4]; N] = std::array::from_fn(|i| v.map(|v| v[i] as i8));
        unsafe { x.cast::<[[i8; 4]; N]>().write_unaligned(quads) }
    }
    #[inline(always)]
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn max_i32(a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i].max(b[i]))
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i] * b[i])
    }
    // Not `f32::mul_add`: without the instruction that is a slow call.
    #[inline(always)]
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        map(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i].min(b[i]))
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i].max(b[i]))
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn abs(v: Self::F) -> Self::F {
        map(|i| v[i].abs())
    }
    #[inline(always)]
    unsafe fn round(v: Self::F) -> Self::F {
        const SHIFT: f32 = 12_582_912.0; // 1.5 · 2²³: the sum has no fraction bits left
        map(|i| (v[i] + SHIFT) - SHIFT)
    }
    #[inline(always)]
    unsafe fn pow2(n: Self::F) -> Self::F {
        map(|i| f32::from_bits(((n[i] as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn sum(v: Self::F) -> f32 {
        v.iter().sum()
    }
    #[inline(always)]
    unsafe fn least(v: Self::F) -> f32 {
        v.into_iter().fold(f32::INFINITY, f32::min)
    }
    #[inline(always)]
    unsafe fn most(v: Self::F) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    unsafe fn tile(rows: usize, tile: Tile) {
        let Tile { a, stride, b, quads, start, out, out_stride, .. } = tile;
        for r in 0..rows {
            for panel in 0..2 {
                let mut sums = unsafe { start.add(panel * 16).cast::<[i32; 16]>().read_unaligned() };
                for k in 0..quads {
                    let x = unsafe { a.add(r * stride + 4 * k).cast::<[u8; 4]>().read() };
                    let w = unsafe { b.add((panel * quads + k) * 64).cast::<[[i8; 4]; 16]>().read() };
                    for (sum, w) in sums.iter_mut().zip(w) {
                        for i in 0..4 {
                            *sum += i32::from(x[i]) * i32::from(w[i]);
                        }
                    }
                }
                unsafe { out.add(r * out_stride + panel * 16).cast::<[i32; 16]>().write_unaligned(sums) };
            }
        }
    }
}
