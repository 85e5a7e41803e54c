//! What is done to each number, or to each pixel, alone.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::arch::arch;
use super::buffer::zeros;
use super::lanes::{gelu, gelu_tanh, quick_gelu, silu};

/// Numbers of a piece of work.
const PIECE: usize = 1 << 15;

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pointwise {
    /// `x · σ(x)`.
    Silu,
    /// `x · Φ(x)`, by the error function.
    Gelu,
    /// `x · Φ(x)`, by its tanh approximation.
    GeluTanh,
    /// `x · σ(1.702 x)`.
    QuickGelu,
}

impl Pointwise {
    #[inline(always)]
    pub(super) fn of<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        match self {
            Self::Silu => silu(simd, x),
            Self::Gelu => gelu(simd, x),
            Self::GeluTanh => gelu_tanh(simd, x),
            Self::QuickGelu => quick_gelu(simd, x),
        }
    }
}

/// The function of each number.
pub(crate) fn apply(function: Pointwise, x: &[f32]) -> Vec<f32> {
    struct Piece<'a>(Pointwise, &'a [f32], &'a mut [f32]);
    impl WithSimd for Piece<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(function, x, out) = self;
            let (out, out_rest) = S::as_mut_simd_f32s(out);
            let (x, x_rest) = S::as_simd_f32s(x);
            for (out, x) in out.iter_mut().zip(x) {
                *out = function.of(simd, *x);
            }
            simd.partial_store_f32s(out_rest, function.of(simd, simd.partial_load_f32s(x_rest)));
        }
    }
    let mut out = zeros(x.len());
    let pieces = out.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE));
    pieces.for_each(|(out, x)| arch().dispatch(Piece(function, x, out)));
    out
}

/// `value · gelu(gate)` of `(rows, 2 · width)`, where each row is values and then gates: `(rows, width)`, put into
/// `out`.
pub(super) fn gated_gelu(x: &[f32], width: usize, out: &mut [f32]) {
    struct Rows<'a>(&'a [f32], usize, &'a mut [f32]);
    impl WithSimd for Rows<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(x, width, out) = self;
            for (x, out) in x.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
                let (values, gates) = x.split_at(width);
                let (values, values_rest) = S::as_simd_f32s(values);
                let (gates, gates_rest) = S::as_simd_f32s(gates);
                let (out, out_rest) = S::as_mut_simd_f32s(out);
                for ((out, value), gate) in out.iter_mut().zip(values).zip(gates) {
                    *out = simd.mul_f32s(*value, gelu(simd, *gate));
                }
                let gate = gelu(simd, simd.partial_load_f32s(gates_rest));
                let product = simd.mul_f32s(simd.partial_load_f32s(values_rest), gate);
                simd.partial_store_f32s(out_rest, product);
            }
        }
    }
    let rows = (PIECE / width.max(1)).max(1);
    let pieces = out.par_chunks_mut((rows * width).max(1)).zip(x.par_chunks((rows * 2 * width).max(1)));
    pieces.for_each(|(out, x)| arch().dispatch(Rows(x, width, out)));
}

/// `a + b`, of equal shapes; or with `b` repeated for as many rows as `a` has.
pub(crate) fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut out = zeros(a.len());
    let step = if b.len() == a.len() { PIECE } else { b.len().max(1) };
    let pieces = out.par_chunks_mut(step).zip(a.par_chunks(step)).enumerate();
    pieces.for_each(|(piece, (out, a))| {
        let b = if b.len() == out.len() { b } else { &b[piece * step..][..out.len()] };
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = a + b;
        }
    });
    out
}

/// Pixels of `a_width` and of `b_width` channels, put side by side.
pub(crate) fn concatenate(a: &[f32], a_width: usize, b: &[f32], b_width: usize) -> Vec<f32> {
    let width = a_width + b_width;
    let mut out = zeros(a.len() + b.len());
    let pixels = (PIECE / width.max(1)).max(1);
    out.par_chunks_mut((pixels * width).max(1)).enumerate().for_each(|(piece, out)| {
        let (a, b) = (&a[piece * pixels * a_width..], &b[piece * pixels * b_width..]);
        let sources = a.chunks_exact(a_width).zip(b.chunks_exact(b_width));
        for (out, (a, b)) in out.chunks_exact_mut(width).zip(sources) {
            out[..a_width].copy_from_slice(a);
            out[a_width..].copy_from_slice(b);
        }
    });
    out
}

/// The nearest pixel's channels for each pixel of a map of another size; a size is height and width.
///
/// As PyTorch does it: pixel `i` of `n` is pixel `⌊i · m / n⌋` of `m`.
pub(crate) fn upsample(x: &[f32], channels: usize, from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let images = x.len() / (from.0 * from.1 * channels).max(1);
    let mut out = zeros(images * to.0 * to.1 * channels);
    let row = (to.1 * channels).max(1);
    out.par_chunks_mut(row).enumerate().for_each(|(line, out)| {
        let (image, y) = (line / to.0, line % to.0);
        let source = &x[(image * from.0 + y * from.0 / to.0) * from.1 * channels..][..from.1 * channels];
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            out.copy_from_slice(&source[column * from.1 / to.1 * channels..][..channels]);
        }
    });
    out
}
