//! NEON with the 8-bit dot product of Armv8.2 (`FEAT_DotProd`).

use std::arch::aarch64::*;
use std::arch::asm;

use super::simd::{Simd, Tile, with_rows};

#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Both halves of a vector of eight.
macro_rules! halves {
    ($vector:ident, $function:ident($($v:expr),*)) => {
        $vector($function($($v.0),*), $function($($v.1),*))
    };
}

impl Simd for Neon {
    type F = float32x4x2_t;
    type I = int32x4x2_t;
    const LANES: usize = 8;
    // Five rows by 16 channels: 20 sums, four weights, five rows of 16 bytes, of 32 registers.
    const ROWS: usize = 5;
    const QUADS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        unsafe { float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(x)) }
    }
    #[inline(always)]
    unsafe fn load(x: *const f32) -> Self::F {
        unsafe { float32x4x2_t(vld1q_f32(x), vld1q_f32(x.add(4))) }
    }
    #[inline(always)]
    unsafe fn store(x: *mut f32, v: Self::F) {
        unsafe {
            vst1q_f32(x, v.0);
            vst1q_f32(x.add(4), v.1);
        }
    }
    #[inline(always)]
    unsafe fn load_i32(x: *const i32) -> Self::I {
        unsafe { int32x4x2_t(vld1q_s32(x), vld1q_s32(x.add(4))) }
    }
    #[inline(always)]
    unsafe fn number(v: Self::I) -> Self::F {
        unsafe { halves!(float32x4x2_t, vcvtq_f32_s32(v)) }
    }
    #[inline(always)]
    unsafe fn integer(v: Self::F) -> Self::I {
        unsafe { halves!(int32x4x2_t, vcvtnq_s32_f32(v)) }
    }
    #[inline(always)]
    unsafe fn load_i8(x: *const i8) -> Self::F {
        unsafe {
            let v = vmovl_s8(vld1_s8(x));
            let v = int32x4x2_t(vmovl_s16(vget_low_s16(v)), vmovl_s16(vget_high_s16(v)));
            halves!(float32x4x2_t, vcvtq_f32_s32(v))
        }
    }
    #[inline(always)]
    unsafe fn store_u8(x: *mut u8, v: Self::I) {
        unsafe {
            let v = vcombine_s16(vqmovn_s32(v.0), vqmovn_s32(v.1));
            vst1_u8(x, vqmovun_s16(v));
        }
    }
    #[inline(always)]
    unsafe fn store_i8(x: *mut i8, v: Self::I) {
        unsafe {
            let v = vcombine_s16(vqmovn_s32(v.0), vqmovn_s32(v.1));
            vst1_s8(x, vqmovn_s16(v));
        }
    }
    #[inline(always)]
    unsafe fn store_quads(x: *mut i8, v: [Self::I; 4]) {
        unsafe {
            // `sli` keeps the bits below those it inserts.
            let half = |v: [int32x4_t; 4]| {
                let high = vsliq_n_s32::<8>(v[2], v[3]);
                vreinterpretq_s8_s32(vsliq_n_s32::<16>(vsliq_n_s32::<8>(v[0], v[1]), high))
            };
            vst1q_s8(x, half(v.map(|v| v.0)));
            vst1q_s8(x.add(16), half(v.map(|v| v.1)));
        }
    }
    #[inline(always)]
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I {
        unsafe { halves!(int32x4x2_t, vaddq_s32(a, b)) }
    }
    #[inline(always)]
    unsafe fn max_i32(a: Self::I, b: Self::I) -> Self::I {
        unsafe { halves!(int32x4x2_t, vmaxq_s32(a, b)) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vaddq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vsubq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vmulq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vfmaq_f32(c, a, b)) }
    }
    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vminq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vmaxq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vdivq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn abs(v: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vabsq_f32(v)) }
    }
    #[inline(always)]
    unsafe fn round(v: Self::F) -> Self::F {
        unsafe { halves!(float32x4x2_t, vrndnq_f32(v)) }
    }
    #[inline(always)]
    unsafe fn pow2(n: Self::F) -> Self::F {
        unsafe {
            let half = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127))));
            float32x4x2_t(half(n.0), half(n.1))
        }
    }
    #[inline(always)]
    unsafe fn sum(v: Self::F) -> f32 {
        unsafe { vaddvq_f32(vaddq_f32(v.0, v.1)) }
    }
    #[inline(always)]
    unsafe fn least(v: Self::F) -> f32 {
        unsafe { vminvq_f32(vminq_f32(v.0, v.1)) }
    }
    #[inline(always)]
    unsafe fn most(v: Self::F) -> f32 {
        unsafe { vmaxvq_f32(vmaxq_f32(v.0, v.1)) }
    }

    #[inline(always)]
    unsafe fn tile(rows: usize, tile: Tile) {
        unsafe { with_rows!(rows, tile_dot(tile), 1 2 3 4 5) }
    }

    #[inline(always)]
    unsafe fn spin(rounds: usize) -> u64 {
        unsafe {
            asm!(
                "2:",
                ".irp sum, v0, v1, v2, v3, v4, v5, v6, v7, v16, v17, v18, v19, v20, v21, v22, v23",
                "sdot \\sum\\().4s, v24.16b, v25.4b[0]",
                ".endr",
                "subs {rounds}, {rounds}, #1",
                "b.ne 2b",
                rounds = inout(reg) rounds.max(1) => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
                out("v23") _, out("v24") _, out("v25") _,
                options(nostack, nomem),
            );
        }
        rounds.max(1) as u64 * 16 * 32
    }
}

#[inline(always)]
unsafe fn tile_dot<const R: usize>(tile: Tile) {
    let Tile { a, stride, b, quads, start, out, out_stride, .. } = tile;
    unsafe {
        for panel in 0..2 {
            let b = b.add(panel * quads * 64);
            let start = start.add(panel * 16);
            let start = [0, 4, 8, 12].map(|i| vld1q_s32(start.add(i)));
            let mut sums = [start; R];
            let mut k = 0;
            while k < quads {
                // Activations are below 128, so that they are the same as signed bytes.
                let mut x = [vdupq_n_s8(0); R];
                for (r, x) in x.iter_mut().enumerate() {
                    *x = vld1q_s8(a.add(r * stride + 4 * k).cast());
                }
                quad::<0, R>(&mut sums, &x, b.add(k * 64));
                quad::<1, R>(&mut sums, &x, b.add(k * 64 + 64));
                quad::<2, R>(&mut sums, &x, b.add(k * 64 + 128));
                quad::<3, R>(&mut sums, &x, b.add(k * 64 + 192));
                k += 4;
            }
            for (r, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    vst1q_s32(out.add(r * out_stride + panel * 16 + j * 4), *sum);
                }
            }
        }
    }
}

/// Adds the products of one quad of 16 channels with the `Q`th quad of each row.
#[inline(always)]
unsafe fn quad<const Q: i32, const R: usize>(sums: &mut [[int32x4_t; 4]; R], x: &[int8x16_t; R], w: *const i8) {
    unsafe {
        let w = [vld1q_s8(w), vld1q_s8(w.add(16)), vld1q_s8(w.add(32)), vld1q_s8(w.add(48))];
        for (sums, &x) in sums.iter_mut().zip(x) {
            for (sum, w) in sums.iter_mut().zip(w) {
                // The intrinsic is not stable, the instruction is.
                asm!(
                    "sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{q}]",
                    sum = inout(vreg) *sum, w = in(vreg) w, x = in(vreg) x, q = const Q,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
}
