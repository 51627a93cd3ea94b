//! AVX-512 with VNNI's 8-bit dot product, and the same with AMX's 8-bit tiles.

use std::arch::asm;
use std::arch::x86_64::*;

use super::simd::{Simd, Tile, with_rows};

#[derive(Clone, Copy)]
pub(crate) struct Avx512;

#[derive(Clone, Copy)]
pub(crate) struct Amx;

macro_rules! sixteen_lanes {
    () => {
        type F = __m512;
        type I = __m512i;
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
        unsafe fn load_i32(x: *const i32) -> __m512i {
            unsafe { _mm512_loadu_si512(x.cast()) }
        }
        #[inline(always)]
        unsafe fn number(v: __m512i) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(v) }
        }
        #[inline(always)]
        unsafe fn integer(v: __m512) -> __m512i {
            unsafe { _mm512_cvtps_epi32(v) }
        }
        #[inline(always)]
        unsafe fn load_i8(x: *const i8) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.cast()))) }
        }
        #[inline(always)]
        unsafe fn store_u8(x: *mut u8, v: __m512i) {
            unsafe { Self::store_i8(x.cast(), v) } // the low byte of the number, which is the same
        }
        #[inline(always)]
        unsafe fn store_i8(x: *mut i8, v: __m512i) {
            unsafe {
                _mm_storeu_si128(x.cast(), _mm512_cvtepi32_epi8(v));
            }
        }
        #[inline(always)]
        unsafe fn store_quads(x: *mut i8, v: [__m512i; 4]) {
            unsafe {
                let byte = _mm512_set1_epi32(0xFF);
                let low =
                    _mm512_or_si512(_mm512_and_si512(v[0], byte), _mm512_slli_epi32::<8>(_mm512_and_si512(v[1], byte)));
                let third = _mm512_slli_epi32::<16>(_mm512_and_si512(v[2], byte));
                let high = _mm512_or_si512(third, _mm512_slli_epi32::<24>(v[3]));
                _mm512_storeu_si512(x.cast(), _mm512_or_si512(low, high));
            }
        }
        #[inline(always)]
        unsafe fn add_i32(a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn max_i32(a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_max_epi32(a, b) }
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
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn abs(v: __m512) -> __m512 {
            unsafe { _mm512_abs_ps(v) }
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
    unsafe fn tile(rows: usize, tile: Tile) {
        unsafe { with_rows!(rows, tile_vnni(tile), 1 2 3 4 5 6 7 8 9 10 11 12) }
    }

    #[inline(always)]
    unsafe fn spin(rounds: usize) -> u64 {
        unsafe {
            asm!(
                "2:",
                ".irp sum, zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11",
                "vpdpbusd \\sum, zmm12, zmm13",
                ".endr",
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) rounds.max(1) => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
                out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _,
                options(nostack, nomem),
            );
        }
        rounds.max(1) as u64 * 12 * 128
    }
}

impl Simd for Amx {
    sixteen_lanes!();
    // Four sums of 16 × 16, two registers of activations, two of weights: all eight.
    const ROWS: usize = 32;
    const STEP: usize = 16;
    const QUADS: usize = 16;

    #[inline(always)]
    unsafe fn begin() {
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(64);
        config.rows[..8].fill(16);
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) }
    }

    #[inline(always)]
    unsafe fn end() {
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    #[inline(always)]
    unsafe fn tile(rows: usize, tile: Tile) {
        unsafe { if rows <= 16 { tile_amx_16(tile) } else { tile_amx_32(tile) } }
    }

    #[inline(always)]
    unsafe fn spin(rounds: usize) -> u64 {
        unsafe {
            Self::begin();
            asm!(
                "2:",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) rounds.max(1) => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, nomem),
            );
            Self::end();
        }
        rounds.max(1) as u64 * 4 * 2 * 16 * 16 * 64
    }
}

// The intrinsics are not stable, the instructions are. `tdpbusd` takes 16 rows of 64 unsigned bytes and 16 quads of
// 16 × 4 signed ones, which is the layout of a weight panel.

#[inline(always)]
unsafe fn tile_amx_16(tile: Tile) {
    let Tile { a, stride, b, quads, start, out, out_stride, .. } = tile;
    unsafe {
        asm!(
            "tileloadd tmm0, [{start} + {none}*1]",
            "tileloadd tmm1, [{start} + {none}*1 + 64]",
            "2:",
            "tileloadd tmm4, [{a} + {stride}*1]",
            "tileloadd tmm6, [{b0} + {line}*1]",
            "tileloadd tmm7, [{b1} + {line}*1]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "add {a}, 64",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{out} + {out_stride}*1], tmm0",
            "tilestored [{out} + {out_stride}*1 + 64], tmm1",
            a = inout(reg) a => _,
            stride = in(reg) stride,
            b0 = inout(reg) b => _,
            b1 = inout(reg) b.add(quads * 64) => _,
            line = in(reg) 64usize,
            steps = inout(reg) quads / 16 => _,
            start = in(reg) start,
            none = in(reg) 0usize,
            out = in(reg) out,
            out_stride = in(reg) 4 * out_stride,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

#[inline(always)]
unsafe fn tile_amx_32(tile: Tile) {
    let Tile { a, stride, b, quads, start, out, out_stride, .. } = tile;
    unsafe {
        asm!(
            "tileloadd tmm0, [{start} + {none}*1]",
            "tileloadd tmm1, [{start} + {none}*1 + 64]",
            "tileloadd tmm2, [{start} + {none}*1]",
            "tileloadd tmm3, [{start} + {none}*1 + 64]",
            "2:",
            "tileloadd tmm4, [{a0} + {stride}*1]",
            "tileloadd tmm6, [{b0} + {line}*1]",
            "tileloadd tmm7, [{b1} + {line}*1]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a1} + {stride}*1]",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "add {a0}, 64",
            "add {a1}, 64",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{out} + {out_stride}*1], tmm0",
            "tilestored [{out} + {out_stride}*1 + 64], tmm1",
            "tilestored [{out1} + {out_stride}*1], tmm2",
            "tilestored [{out1} + {out_stride}*1 + 64], tmm3",
            a0 = inout(reg) a => _,
            a1 = inout(reg) a.add(16 * stride) => _,
            stride = in(reg) stride,
            b0 = inout(reg) b => _,
            b1 = inout(reg) b.add(quads * 64) => _,
            line = in(reg) 64usize,
            steps = inout(reg) quads / 16 => _,
            start = in(reg) start,
            none = in(reg) 0usize,
            out = in(reg) out,
            out1 = in(reg) out.add(16 * out_stride),
            out_stride = in(reg) 4 * out_stride,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Whether the processor has AMX's 8-bit tiles and the system lets this process use them.
pub(super) fn amx_permitted() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & TILE_AND_INT8 != TILE_AND_INT8 {
        return false;
    }
    // Linux saves tile registers only for processes that ask, see its Documentation/arch/x86/xstate.rst.
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: this call takes two numbers and touches no memory.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

#[inline(always)]
unsafe fn tile_vnni<const R: usize>(tile: Tile) {
    let Tile { a, stride, b, quads, ahead, start, out, out_stride } = tile;
    unsafe {
        let start = [_mm512_loadu_si512(start.cast()), _mm512_loadu_si512(start.add(16).cast())];
        let mut sums = [start; R];
        let second = b.add(quads * 64);
        for k in 0..quads {
            let w0 = _mm512_loadu_si512(b.add(k * 64).cast());
            let w1 = _mm512_loadu_si512(second.add(k * 64).cast());
            _mm_prefetch::<_MM_HINT_T1>(b.wrapping_add(ahead + k * 64));
            _mm_prefetch::<_MM_HINT_T1>(second.wrapping_add(ahead + k * 64));
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = a.add(r * stride + 4 * k).cast::<i32>().read_unaligned();
                let x = _mm512_set1_epi32(x);
                sums[0] = _mm512_dpbusd_epi32(sums[0], x, w0);
                sums[1] = _mm512_dpbusd_epi32(sums[1], x, w1);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            _mm512_storeu_si512(out.add(r * out_stride).cast(), sums[0]);
            _mm512_storeu_si512(out.add(r * out_stride + 16).cast(), sums[1]);
        }
    }
}
