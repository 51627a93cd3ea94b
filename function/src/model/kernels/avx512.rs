//! AVX-512 with VNNI's 8-bit dot product.

use std::arch::x86_64::*;

use super::simd::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Avx512;

macro_rules! sixteen_lanes {
    () => {
        type F = __m512;
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(x: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(x) }
        }
        #[inline(always)]
        unsafe fn store(x: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(x, v) }
        }
        #[inline(always)]
        unsafe fn load_i32(x: *const i32) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(x.cast())) }
        }
        #[inline(always)]
        unsafe fn load_i8(x: *const i8) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.cast()))) }
        }
        #[inline(always)]
        unsafe fn store_u8(x: *mut u8, v: __m512) {
            unsafe {
                _mm_storeu_si128(x.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
            }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn min(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn round(v: __m512) -> __m512 {
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
        }
        #[inline(always)]
        unsafe fn pow2(n: __m512) -> __m512 {
            unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), n) }
        }
        #[inline(always)]
        unsafe fn sum(v: __m512) -> f32 {
            unsafe { _mm512_reduce_add_ps(v) }
        }
        #[inline(always)]
        unsafe fn least(v: __m512) -> f32 {
            unsafe { _mm512_reduce_min_ps(v) }
        }
        #[inline(always)]
        unsafe fn most(v: __m512) -> f32 {
            unsafe { _mm512_reduce_max_ps(v) }
        }
    };
}

impl Simd for Avx512 {
    sixteen_lanes!();
    // Twelve rows by 32 channels: 24 sums, two weights, and broadcasts, of 32 registers.
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn tile<const R: usize>(
        a: *const u8,
        stride: usize,
        b: *const i8,
        quads: usize,
        out: *mut i32,
    ) {
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); 2]; R];
            let second = b.add(quads * 64);
            for k in 0..quads {
                let w0 = _mm512_loadu_si512(b.add(k * 64).cast());
                let w1 = _mm512_loadu_si512(second.add(k * 64).cast());
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = a.add(r * stride + 4 * k).cast::<i32>().read_unaligned();
                    let x = _mm512_set1_epi32(x);
                    sums[0] = _mm512_dpbusd_epi32(sums[0], x, w0);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], x, w1);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                _mm512_storeu_si512(out.add(r * 32).cast(), sums[0]);
                _mm512_storeu_si512(out.add(r * 32 + 16).cast(), sums[1]);
            }
        }
    }
}
