//! Group and layer normalisation.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use tracing::trace_span;

use super::arch::arch;
use super::buffer::zeros;
use super::pointwise::Pointwise;

/// Pixels whose moments are taken at once; moments of several such pieces are then put together.
const PIXELS: usize = 64;

/// Rows of a piece of a layer normalisation.
const ROWS: usize = 32;

/// Normalises each group of channels of each image, scales and shifts every channel (Wu and He 2018), and applies a
/// function to that.
///
/// `x`: images of `pixels` pixels with as many channels as `weight` and `bias` have numbers.
pub(crate) fn group_norm(
    x: &[f32],
    pixels: usize,
    (weight, bias): (&[f32], &[f32]),
    (groups, eps): (usize, f64),
    then: Option<Pointwise>,
) -> Vec<f32> {
    let _span = trace_span!("normalisation").entered();
    let channels = weight.len();
    let mut out = zeros(x.len());
    let (image, piece) = ((pixels * channels).max(1), (PIXELS * channels).max(1));
    for (x, out) in x.chunks_exact(image).zip(out.chunks_exact_mut(image)) {
        let moments: Vec<Vec<Moments>> =
            x.par_chunks(piece).map(|x| arch().dispatch(PieceMoments { x, channels })).collect();
        let (mut scale, mut shift) = (vec![0.0; channels], vec![0.0; channels]);
        let width = channels / groups;
        for group in 0..groups {
            let own = group * width..(group + 1) * width;
            let all = moments.iter().flat_map(|piece| &piece[own.clone()]);
            let whole = all.fold(Moments::default(), |sum, next| sum.with(next));
            let deviation = 1.0 / (whole.squares / whole.count + eps).sqrt();
            for channel in own {
                let factor = f64::from(weight[channel]) * deviation;
                scale[channel] = factor as f32;
                shift[channel] = (f64::from(bias[channel]) - whole.mean * factor) as f32;
            }
        }
        let (scale, shift) = (&scale[..], &shift[..]);
        let pieces = out.par_chunks_mut(piece).zip(x.par_chunks(piece));
        pieces.for_each(|(out, x)| arch().dispatch(Scale { x, scale, shift, then, out }));
    }
    out
}

/// How many numbers there are, their mean, and the sum of the squares of their distances from it.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of two sets together (Chan, Golub and LeVeque 1979).
    fn with(self, other: &Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let (distance, share) = (other.mean - self.mean, other.count / count);
        let squares = self.squares + other.squares + distance * distance * self.count * share;
        Self { count, mean: self.mean + distance * share, squares }
    }
}

/// The moments of each channel over a few pixels.
struct PieceMoments<'a> {
    x: &'a [f32],
    channels: usize,
}

impl WithSimd for PieceMoments<'_> {
    type Output = Vec<Moments>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Moments> {
        let Self { x, channels } = self;
        let count = (x.len() / channels) as f32;
        let (mut means, mut squares) = (vec![0.0f32; channels], vec![0.0f32; channels]);
        for pixel in x.chunks_exact(channels) {
            for (sum, x) in means.iter_mut().zip(pixel) {
                *sum += x;
            }
        }
        means.iter_mut().for_each(|sum| *sum /= count);
        for pixel in x.chunks_exact(channels) {
            let ((sums, rest), (pixel, pixel_rest)) =
                (S::as_mut_simd_f32s(&mut squares), S::as_simd_f32s(pixel));
            let (centers, centers_rest) = S::as_simd_f32s(&means);
            for ((sum, x), center) in sums.iter_mut().zip(pixel).zip(centers) {
                let distance = simd.sub_f32s(*x, *center);
                *sum = simd.mul_add_e_f32s(distance, distance, *sum);
            }
            for ((sum, x), center) in rest.iter_mut().zip(pixel_rest).zip(centers_rest) {
                *sum += (x - center) * (x - center);
            }
        }
        let moments = means.iter().zip(&squares);
        moments
            .map(|(mean, squares)| Moments {
                count: f64::from(count),
                mean: f64::from(*mean),
                squares: f64::from(*squares),
            })
            .collect()
    }
}

/// Scales and shifts every channel of a few pixels.
struct Scale<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    then: Option<Pointwise>,
    out: &'a mut [f32],
}

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, scale, shift, then, out } = self;
        let (scale, scale_rest) = S::as_simd_f32s(scale);
        let (shift, shift_rest) = S::as_simd_f32s(shift);
        let channels = scale.len() * S::F32_LANES + scale_rest.len();
        for (x, out) in x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            let ((x, x_rest), (out, out_rest)) = (S::as_simd_f32s(x), S::as_mut_simd_f32s(out));
            for (((out, x), scale), shift) in out.iter_mut().zip(x).zip(scale).zip(shift) {
                *out = of(simd, then, simd.mul_add_e_f32s(*x, *scale, *shift));
            }
            if !out_rest.is_empty() {
                let scale = simd.partial_load_f32s(scale_rest);
                let shift = simd.partial_load_f32s(shift_rest);
                let last = simd.mul_add_e_f32s(simd.partial_load_f32s(x_rest), scale, shift);
                simd.partial_store_f32s(out_rest, of(simd, then, last));
            }
        }
    }
}

/// The function, if there is one.
#[inline(always)]
fn of<S: Simd>(simd: S, then: Option<Pointwise>, x: S::f32s) -> S::f32s {
    match then {
        Some(function) => function.of(simd, x),
        None => x,
    }
}

/// Normalises each row, then scales and shifts every column (Ba et al. 2016).
///
/// `x`: rows of as many numbers as `weight` and `bias` have.
pub(crate) fn layer_norm(x: &[f32], (weight, bias): (&[f32], &[f32]), eps: f64) -> Vec<f32> {
    let _span = trace_span!("normalisation").entered();
    let mut out = zeros(x.len());
    let piece = (ROWS * weight.len()).max(1);
    let pieces = out.par_chunks_mut(piece).zip(x.par_chunks(piece));
    pieces.for_each(|(out, x)| arch().dispatch(RowNorms { x, weight, bias, eps, out }));
    out
}

struct RowNorms<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f64,
    out: &'a mut [f32],
}

impl WithSimd for RowNorms<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, weight, bias, eps, out } = self;
        let width = weight.len();
        let zero = simd.splat_f32s(0.0);
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let (vectors, rest) = S::as_simd_f32s(x);
            let sum = vectors.iter().fold(zero, |sum, x| simd.add_f32s(sum, *x));
            let sum = simd.reduce_sum_f32s(sum) + rest.iter().sum::<f32>();
            let mean = sum / width as f32;
            let center = simd.splat_f32s(mean);
            let squares = vectors.iter().fold(zero, |sum, x| {
                let distance = simd.sub_f32s(*x, center);
                simd.mul_add_e_f32s(distance, distance, sum)
            });
            let rest_squares: f32 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
            let squares = simd.reduce_sum_f32s(squares) + rest_squares;
            let deviation = (1.0 / (f64::from(squares) / width as f64 + eps).sqrt()) as f32;
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                *out = (x - mean) * deviation * weight + bias;
            }
        }
    }
}
