//! The vector operations that every kernel is written in, once for each instruction set.

/// One instruction set. Implementations are zero-sized and their methods are inlined into a caller that was compiled
/// for that set; see [`super::Isa`].
///
/// # Safety
/// The caller runs on a processor that has the instruction set, and pointers are valid for what each method says it
/// reads or writes. Alignment is not needed.
#[allow(clippy::missing_safety_doc)] // one contract for all methods, stated above
pub(crate) trait Simd: Copy {
    /// A vector of [`LANES`](Self::LANES) single-precision numbers.
    type F: Copy;
    /// A vector of as many 32-bit integers.
    type I: Copy;
    /// Numbers in a vector: 8 or 16.
    const LANES: usize;
    /// Largest number of rows that [`tile`](Self::tile) takes.
    const ROWS: usize;
    /// Rows that a tile computes at no less cost than fewer.
    const STEP: usize = 1;

    /// Every lane `x`.
    unsafe fn splat(x: f32) -> Self::F;
    /// `LANES` numbers from `x`.
    unsafe fn load(x: *const f32) -> Self::F;
    /// `LANES` numbers to `x`.
    unsafe fn store(x: *mut f32, v: Self::F);
    /// `LANES` integers from `x`.
    unsafe fn load_i32(x: *const i32) -> Self::I;
    /// Integers as numbers.
    unsafe fn number(v: Self::I) -> Self::F;
    /// Numbers as integers, rounding ties to even.
    unsafe fn integer(v: Self::F) -> Self::I;
    /// `LANES` 8-bit integers from `x`, as numbers.
    unsafe fn load_i8(x: *const i8) -> Self::F;
    /// Stores integers in 0..=127 as bytes.
    unsafe fn store_u8(x: *mut u8, v: Self::I);
    /// Stores integers in −128..=127 as bytes.
    unsafe fn store_i8(x: *mut i8, v: Self::I);
    /// Stores integers in −128..=127 as bytes, the first of each of the four vectors, then the second of each, and so
    /// on.
    unsafe fn store_quads(x: *mut i8, v: [Self::I; 4]);
    /// Sums of integers.
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I;
    /// The larger of each pair of integers.
    unsafe fn max_i32(a: Self::I, b: Self::I) -> Self::I;
    /// a + b
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    /// a − b
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    /// a · b
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// a · b + c
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The smaller of each pair.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// The larger of each pair.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// a / b
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// |v|
    unsafe fn abs(v: Self::F) -> Self::F;
    /// Nearest whole number, ties to even, for |v| < 2²².
    unsafe fn round(v: Self::F) -> Self::F;
    /// 2ⁿ for whole n in −126..=127.
    unsafe fn pow2(n: Self::F) -> Self::F;
    /// Sum of all lanes.
    unsafe fn sum(v: Self::F) -> f32;
    /// Smallest lane.
    unsafe fn least(v: Self::F) -> f32;
    /// Largest lane.
    unsafe fn most(v: Self::F) -> f32;

    /// Runs `rounds` times as many integer products, in the instructions of [`tile`](Self::tile) and in registers
    /// alone, as keep the processor's multipliers busy. Returns the operations done, a product and an addition being
    /// two; 0 if there are no such instructions.
    #[inline(always)]
    unsafe fn spin(_rounds: usize) -> u64 {
        0
    }

    /// What the `quads` of [`tile`](Self::tile) are a multiple of.
    const QUADS: usize = 2;
    /// Called before the first [`tile`](Self::tile) of a matrix product, and [`end`](Self::end) after the last.
    #[inline(always)]
    unsafe fn begin() {}
    /// See [`begin`](Self::begin).
    #[inline(always)]
    unsafe fn end() {}

    /// The integer products of `rows` rows with 32 output channels.
    unsafe fn tile(rows: usize, tile: Tile);
}

/// The operands of [`Simd::tile`], and where its sums go.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Rows of unsigned bytes in 0..=127, [`stride`](Self::stride) apart, `4·quads` read of each; memory up to the
    /// next multiple of [`super::ROW_PADDING`] rows may be read.
    pub(crate) a: *const u8,
    /// From row to row of `a`, in bytes.
    pub(crate) stride: usize,
    /// Two panels of 16 channels, each `quads × 16 × 4` signed bytes in −63..=63, `64·quads` apart. The ranges let
    /// two products of a pair be added in 16 bits: 4 · 127 · 63 < 2¹⁵.
    pub(crate) b: *const i8,
    /// Groups of four that a sum is over; a multiple of [`Simd::QUADS`].
    pub(crate) quads: usize,
    /// Distance from `b` to the data to prefetch into the L2 cache, 0 for none. It may point outside of any allocation.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // elsewhere nothing was measured that it gains
    pub(crate) ahead: usize,
    /// 32 numbers, what the sums of each channel begin with.
    pub(crate) start: *const i32,
    /// Room for [`MAX_TILE_ROWS`] rows of 32 sums, of which `rows` are what was asked for.
    pub(crate) out: *mut i32,
    /// From row to row of `out`, in numbers.
    pub(crate) out_stride: usize,
}

/// Largest number of rows of any [`Simd::tile`].
pub(crate) const MAX_TILE_ROWS: usize = 32;

/// Calls `$function::<N>` for the `N` that `$rows` is.
macro_rules! with_rows {
    ($rows:expr, $function:ident $arguments:tt, $($n:literal)*) => {
        match $rows {
            $($n => $function::<$n> $arguments,)*
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
pub(crate) use with_rows;
