//! The inner loops of the encoder, compiled for each instruction set and chosen at run time.
//!
//! This is the one module with `unsafe` code: vector instructions and the pointers they read. Everything it offers is
//! safe to call; each function checks the sizes of what it is given before it computes.
//!
//! Layout:
//! - `simd`: the vector operations that kernels are written in; `portable`, `avx2`, `avx512`, `neon`: the instruction
//!   sets
//! - `ops`, `attention`: the kernels
#![allow(unsafe_code)]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod ops;
mod portable;
mod simd;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

pub use attention::Head;

/// Output channels of one weight panel; the layout of [`Linear::weight`] is built of these.
pub const PANEL: usize = 16;
/// Output channels computed at a time; the channels of every layer are a multiple of it.
pub const CHANNELS: usize = 32;
/// Input channels are padded with zeros to a multiple of this.
pub const DEPTH: usize = 64;
/// Quantised rows are followed by unused ones up to a multiple of this.
const ROW_PADDING: usize = 32;
/// Largest quantised activation; activations are 0..=127.
pub const ACTIVATION_MAX: f32 = 127.0;
/// Largest quantised weight; weights are −63..=63.
pub const WEIGHT_MAX: f32 = 63.0;

/// An instruction set that the kernels are compiled for and that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

// Private, so that only `Isa::available` makes one: a value is the proof that the processor has the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "aarch64")]
    NeonDotprod,
}

impl Isa {
    /// What this processor can run, best first.
    pub fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
                {
                    if avx512::amx_permitted() {
                        all.push(Self(Set::Amx));
                    }
                    all.push(Self(Set::Avx512Vnni));
                }
                if is_x86_feature_detected!("avxvnni") {
                    all.push(Self(Set::AvxVnni));
                }
                all.push(Self(Set::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            all.push(Self(Set::NeonDotprod));
        }
        all.push(Self(Set::Portable));
        all
    }

    /// The best that this processor can run.
    pub fn best() -> Self {
        Self::available().swap_remove(0)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Set::Amx => "amx",
            #[cfg(target_arch = "aarch64")]
            Set::NeonDotprod => "neon-dotprod",
        })
    }
}

/// A quantised linear layer, `y = x · Wᵀ + bias`, as views into the model's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// Input channels, padded to a multiple of [`DEPTH`].
    pub depth: usize,
    /// Output channels, a multiple of [`CHANNELS`].
    pub channels: usize,
    /// `[channels / 16][depth / 4][16][4]`, each in −63..=63.
    pub weight: &'a [i8],
    /// `[channels]`: what one unit of a weight is worth.
    pub scale: &'a [f32],
    /// `[channels]`: the sum of a channel's weights times its scale; a row's zero point times this is what the zero
    /// point adds to its products.
    pub offset: &'a [f32],
    /// `[channels]`
    pub bias: &'a [f32],
}

impl Linear<'_> {
    /// Some of the output channels, from and to a multiple of [`CHANNELS`].
    pub(crate) fn part(&self, channels: Range<usize>) -> Self {
        assert!(channels.start.is_multiple_of(CHANNELS) && channels.end.is_multiple_of(CHANNELS));
        Self {
            depth: self.depth,
            channels: channels.len(),
            weight: &self.weight[channels.start * self.depth..channels.end * self.depth],
            scale: &self.scale[channels.clone()],
            offset: &self.offset[channels.clone()],
            bias: &self.bias[channels],
        }
    }
}

/// Rows quantised one by one to 0..=127: `x ≈ scale · (q − zero)`.
#[derive(Debug, Default)]
pub struct Rows {
    /// `[rows][depth]`, padding zero.
    bytes: Vec<u8>,
    /// `[rows]`
    scale: Vec<f32>,
    /// `[rows]`
    zero: Vec<f32>,
    depth: usize,
}

impl Rows {
    /// Makes room for `rows` rows of `width` numbers each. Memory is kept from call to call.
    fn reset(&mut self, rows: usize, width: usize) {
        let depth = width.next_multiple_of(DEPTH);
        if depth != self.depth {
            self.bytes.clear(); // so that padding is zero again
            self.depth = depth;
        }
        let size = rows.next_multiple_of(ROW_PADDING) * depth;
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        }
        self.scale.resize(rows, 0.0);
        self.zero.resize(rows, 0.0);
    }
}

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// x · Φ(x), with Φ the normal distribution function, to within 4·10⁻⁶.
    Gelu,
}

/// Compiles each kernel once for every instruction set and makes it a method of [`Isa`].
macro_rules! kernels {
    ($($(#[$doc:meta])* fn $module:ident::$name:ident($($arg:ident: $type:ty),* $(,)?) where $check:expr;)*) => {
        impl Isa {
            $(
                $(#[$doc])*
                #[allow(clippy::too_many_arguments)]
                pub fn $name(self, $($arg: $type),*) {
                    $check;
                    #[cfg(target_arch = "x86_64")]
                    #[target_feature(enable = "avx2,fma")]
                    fn avx2($($arg: $type),*) {
                        // SAFETY: as below.
                        unsafe { $module::$name::<avx2::Avx2>($($arg),*) }
                    }
                    #[cfg(target_arch = "x86_64")]
                    #[target_feature(enable = "avx2,fma,avxvnni")]
                    fn avx_vnni($($arg: $type),*) {
                        // SAFETY: as below.
                        unsafe { $module::$name::<avx2::AvxVnni>($($arg),*) }
                    }
                    #[cfg(target_arch = "x86_64")]
                    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")]
                    fn avx512_vnni($($arg: $type),*) {
                        // SAFETY: as below.
                        unsafe { $module::$name::<avx512::Avx512>($($arg),*) }
                    }
                    #[cfg(target_arch = "x86_64")]
                    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")]
                    fn amx($($arg: $type),*) {
                        // SAFETY: as below.
                        unsafe { $module::$name::<avx512::Amx>($($arg),*) }
                    }
                    #[cfg(target_arch = "aarch64")]
                    #[target_feature(enable = "neon,dotprod")]
                    fn neon_dotprod($($arg: $type),*) {
                        // SAFETY: as below.
                        unsafe { $module::$name::<neon::Neon>($($arg),*) }
                    }
                    // SAFETY: sizes were checked above, and a value of `Isa` is made by `available` alone, which asked
                    // the processor for what it stands for.
                    unsafe {
                        match self.0 {
                            Set::Portable => $module::$name::<portable::Portable>($($arg),*),
                            #[cfg(target_arch = "x86_64")]
                            Set::Avx2 => avx2($($arg),*),
                            #[cfg(target_arch = "x86_64")]
                            Set::AvxVnni => avx_vnni($($arg),*),
                            #[cfg(target_arch = "x86_64")]
                            Set::Avx512Vnni => avx512_vnni($($arg),*),
                            #[cfg(target_arch = "x86_64")]
                            Set::Amx => amx($($arg),*),
                            #[cfg(target_arch = "aarch64")]
                            Set::NeonDotprod => neon_dotprod($($arg),*),
                        }
                    }
                }
            )*
        }
    };
}

kernels! {
    /// Products in registers alone; `operations`: how many were done. See [`Isa::peak`].
    fn ops::spin(rounds: usize, operations: &mut u64) where {};

    /// Quantises each row of `x`, `[rows][width]`, after multiplying its columns by `input`, `[width]`, if there is
    /// one.
    fn ops::quantise(x: &[f32], width: usize, input: Option<&[f32]>, out: &mut Rows) where {
        assert!(width > 0 && width.is_multiple_of(CHANNELS) && x.len().is_multiple_of(width));
        assert!(input.is_none_or(|input| input.len() == width));
        out.reset(x.len() / width, width);
    };

    /// `out = activation(x · Wᵀ + bias)`, `[rows][channels]`, whose rows are `stride` numbers apart.
    fn ops::matmul(x: &Rows, w: &Linear<'_>, activation: Activation, out: &mut [f32], stride: usize) where {
        let rows = x.scale.len();
        assert!(w.depth == x.depth && w.depth.is_multiple_of(DEPTH) && w.channels.is_multiple_of(CHANNELS));
        assert!(x.bytes.len() >= rows.next_multiple_of(ROW_PADDING) * w.depth && x.zero.len() == rows);
        assert_eq!(w.weight.len(), w.depth * w.channels);
        assert!(w.scale.len() == w.channels && w.offset.len() == w.channels && w.bias.len() == w.channels);
        assert!(stride >= w.channels && (rows == 0 || out.len() >= (rows - 1) * stride + w.channels));
    };

    /// Self-attention within each sequence, all heads.
    ///
    /// `qkv`: `[tokens][3 · hidden]`, the queries, keys and values of each token; `lengths` sums to `tokens`; `out`:
    /// `[tokens][hidden]`. The width of a head, `hidden / heads`, is a multiple of 32.
    fn attention::attention(qkv: &[f32], lengths: &[usize], heads: usize, hidden: usize, head: &mut Head, out: &mut [f32]) where {
        assert!(heads > 0 && hidden.is_multiple_of(heads) && (hidden / heads).is_multiple_of(CHANNELS));
        let tokens: usize = lengths.iter().sum();
        assert_eq!(qkv.len(), tokens * 3 * hidden);
        assert_eq!(out.len(), tokens * hidden);
        assert!(hidden / heads <= 512);
    };

    /// `x = layer_norm(x + y)`, row by row.
    ///
    /// `x` and `y`: `[rows][width]`; `gamma` and `beta`: `[width]`.
    fn ops::add_norm(x: &mut [f32], y: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) where {
        let width = gamma.len();
        assert!(width > 0 && width.is_multiple_of(CHANNELS) && beta.len() == width);
        assert!(x.len() == y.len() && x.len().is_multiple_of(width));
    };

    /// `out += scale · row`, all of one length, a multiple of 32.
    fn ops::add_scaled(row: &[i8], scale: f32, out: &mut [f32]) where {
        assert!(row.len() == out.len() && row.len().is_multiple_of(CHANNELS));
    };

    /// The mean of the rows of `x`, `[rows][width]`, scaled to unit length; `out`: `[width]`.
    fn ops::mean_unit(x: &[f32], out: &mut [f32]) where {
        let width = out.len();
        assert!(width > 0 && width.is_multiple_of(CHANNELS) && x.len().is_multiple_of(width) && !x.is_empty());
    };
}
