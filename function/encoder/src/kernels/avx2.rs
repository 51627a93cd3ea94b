//! AVX2 and FMA, and the same with AVX-VNNI's 8-bit dot product.

use std::arch::asm;
use std::arch::x86_64::*;

use super::simd::{Simd, Tile, with_rows};

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[derive(Clone, Copy)]
pub(crate) struct AvxVnni;

macro_rules! eight_lanes {
    () => {
        type F = __m256;
        type I = __m256i;
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(x: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(x) }
        }
        #[inline(always)]
        unsafe fn store(x: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(x, v) }
        }
        #[inline(always)]
        unsafe fn load_i32(x: *const i32) -> __m256i {
            unsafe { _mm256_loadu_si256(x.cast()) }
        }
        #[inline(always)]
        unsafe fn number(v: __m256i) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(v) }
        }
        #[inline(always)]
        unsafe fn integer(v: __m256) -> __m256i {
            unsafe { _mm256_cvtps_epi32(v) }
        }
        #[inline(always)]
        unsafe fn load_i8(x: *const i8) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(x.cast()))) }
        }
        #[inline(always)]
        unsafe fn store_u8(x: *mut u8, v: __m256i) {
            unsafe {
                let words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                _mm_storel_epi64(x.cast(), _mm_packus_epi16(words, words));
            }
        }
        #[inline(always)]
        unsafe fn store_i8(x: *mut i8, v: __m256i) {
            unsafe {
                let words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                _mm_storel_epi64(x.cast(), _mm_packs_epi16(words, words));
            }
        }
        #[inline(always)]
        unsafe fn store_quads(x: *mut i8, v: [__m256i; 4]) {
            unsafe {
                let byte = _mm256_set1_epi32(0xFF);
                let low =
                    _mm256_or_si256(_mm256_and_si256(v[0], byte), _mm256_slli_epi32::<8>(_mm256_and_si256(v[1], byte)));
                let third = _mm256_slli_epi32::<16>(_mm256_and_si256(v[2], byte));
                let high = _mm256_or_si256(third, _mm256_slli_epi32::<24>(v[3]));
                _mm256_storeu_si256(x.cast(), _mm256_or_si256(low, high));
            }
        }
        #[inline(always)]
        unsafe fn add_i32(a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn max_i32(a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_max_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn min(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn abs(v: __m256) -> __m256 {
            unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), v) }
        }
        #[inline(always)]
        unsafe fn round(v: __m256) -> __m256 {
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
        }
        #[inline(always)]
        unsafe fn pow2(n: __m256) -> __m256 {
            unsafe {
                let n = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n))
            }
        }
        #[inline(always)]
        unsafe fn sum(v: __m256) -> f32 {
            unsafe {
                let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
                _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
            }
        }
        #[inline(always)]
        unsafe fn least(v: __m256) -> f32 {
            unsafe {
                let v = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let v = _mm_min_ps(v, _mm_movehl_ps(v, v));
                _mm_cvtss_f32(_mm_min_ss(v, _mm_movehdup_ps(v)))
            }
        }
        #[inline(always)]
        unsafe fn most(v: __m256) -> f32 {
            unsafe {
                let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
                _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
            }
        }
    };
}

impl Simd for Avx2 {
    eight_lanes!();
    // Four rows by 16 channels: 8 sums, 4 weights, a broadcast, and the constant ones of sixteen registers.
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn tile(rows: usize, tile: Tile) {
        unsafe { with_rows!(rows, tile_avx2(tile), 1 2 3 4) }
    }

    #[inline(always)]
    unsafe fn spin(rounds: usize) -> u64 {
        unsafe {
            asm!(
                "2:",
                ".irp sum, ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7",
                "vpmaddubsw ymm12, ymm8, ymm9",
                "vpmaddubsw ymm13, ymm8, ymm10",
                "vpaddw ymm12, ymm12, ymm13",
                "vpmaddwd ymm12, ymm12, ymm11",
                "vpaddd \\sum, \\sum, ymm12",
                ".endr",
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) rounds.max(1) => _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _,
                out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _,
                options(nostack, nomem),
            );
        }
        rounds.max(1) as u64 * 8 * 2 * 64
    }
}

impl Simd for AvxVnni {
    eight_lanes!();
    // Six rows by 16 channels: twelve sums, two weights, a broadcast.
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn tile(rows: usize, tile: Tile) {
        unsafe { with_rows!(rows, tile_vnni(tile), 1 2 3 4 5 6) }
    }

    #[inline(always)]
    unsafe fn spin(rounds: usize) -> u64 {
        unsafe {
            asm!(
                "2:",
                ".irp sum, ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11",
                "{{vex}} vpdpbusd \\sum, ymm12, ymm13",
                ".endr",
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) rounds.max(1) => _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _,
                out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _,
                options(nostack, nomem),
            );
        }
        rounds.max(1) as u64 * 12 * 64
    }
}

#[inline(always)]
unsafe fn tile_avx2<const R: usize>(tile: Tile) {
    let Tile { a, stride, b, quads, ahead, start, out, out_stride } = tile;
    unsafe {
        let ones = _mm256_set1_epi16(1);
        for panel in 0..2 {
            let b = b.add(panel * quads * 64);
            let start = start.add(panel * 16).cast::<__m256i>();
            let mut sums = [[_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))]; R];
            let mut k = 0;
            while k < quads {
                let w = |i: usize| _mm256_loadu_si256(b.add(k * 64 + i * 32).cast());
                let (w0, w1, w2, w3) = (w(0), w(1), w(2), w(3));
                _mm_prefetch::<_MM_HINT_T1>(b.wrapping_add(ahead + k * 64));
                _mm_prefetch::<_MM_HINT_T1>(b.wrapping_add(ahead + k * 64 + 64));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = a.add(r * stride + 4 * k).cast::<i32>();
                    let x0 = _mm256_set1_epi32(x.read_unaligned());
                    let x1 = _mm256_set1_epi32(x.add(1).read_unaligned());
                    let low = _mm256_add_epi16(_mm256_maddubs_epi16(x0, w0), _mm256_maddubs_epi16(x1, w2));
                    let high = _mm256_add_epi16(_mm256_maddubs_epi16(x0, w1), _mm256_maddubs_epi16(x1, w3));
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(low, ones));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(high, ones));
                }
                k += 2;
            }
            for (r, sums) in sums.iter().enumerate() {
                let out = out.add(r * out_stride + panel * 16);
                _mm256_storeu_si256(out.cast(), sums[0]);
                _mm256_storeu_si256(out.add(8).cast(), sums[1]);
            }
        }
    }
}

#[inline(always)]
unsafe fn tile_vnni<const R: usize>(tile: Tile) {
    let Tile { a, stride, b, quads, ahead, start, out, out_stride } = tile;
    unsafe {
        for panel in 0..2 {
            let b = b.add(panel * quads * 64);
            let start = start.add(panel * 16).cast::<__m256i>();
            let mut sums = [[_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))]; R];
            for k in 0..quads {
                let w0 = _mm256_loadu_si256(b.add(k * 64).cast());
                let w1 = _mm256_loadu_si256(b.add(k * 64 + 32).cast());
                _mm_prefetch::<_MM_HINT_T1>(b.wrapping_add(ahead + k * 64));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = a.add(r * stride + 4 * k).cast::<i32>().read_unaligned();
                    let x = _mm256_set1_epi32(x);
                    sums[0] = _mm256_dpbusd_avx_epi32(sums[0], x, w0);
                    sums[1] = _mm256_dpbusd_avx_epi32(sums[1], x, w1);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                let out = out.add(r * out_stride + panel * 16);
                _mm256_storeu_si256(out.cast(), sums[0]);
                _mm256_storeu_si256(out.add(8).cast(), sums[1]);
            }
        }
    }
}
