//! Normalisation that the timestep and the text as a whole decide (Peebles and Xie 2022); diffusers
//! `AdaLayerNormZero`, `SD35AdaLayerNormZeroX` and `AdaLayerNormContinuous`.

use candle_core::{Result as CandleResult, Tensor};

use crate::error::Error;
use crate::layers::{LayerNorm, Linear, linear};
use crate::weights::Weights;

const NORM_EPS: f64 = 1e-6;

/// From one vector for the whole picture to `N` vectors for its tokens.
pub(crate) struct Modulation<const N: usize> {
    linear: Linear,
}

impl<const N: usize> Modulation<N> {
    pub(crate) fn load(width: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        Ok(Self { linear: linear(width, N * width, &weights.pp("linear"))? })
    }

    /// `vector`: `(batch, width)`, already through the activation. Each result: `(batch, 1, width)`.
    pub(crate) fn forward(&self, vector: &Tensor) -> CandleResult<[Tensor; N]> {
        let (batch, width) = vector.dims2()?;
        let all = self.linear.forward(vector)?.reshape((batch, N, width))?;
        let mut chunks = Vec::with_capacity(N);
        for index in 0..N {
            chunks.push(all.narrow(1, index, 1)?);
        }
        chunks.try_into().map_err(|_| candle_core::Error::Msg("a vector fell apart".to_owned()))
    }
}

/// Layer normalisation of contiguous `x`, `(batch, tokens, width)`, times `1 + scale`, plus `shift`, both
/// `(batch, 1, width)`. The result is contiguous.
pub(crate) fn normed(x: &Tensor, scale: &Tensor, shift: &Tensor) -> CandleResult<Tensor> {
    let scale = (scale + 1.0)?;
    // One pass with scale and shift as the norm's own weights, which all of a batch share there.
    let picture = |index: usize| {
        let x = x.narrow(0, index, 1)?;
        LayerNorm::new(scale.get(index)?.squeeze(0)?, shift.get(index)?.squeeze(0)?, NORM_EPS).forward(&x)
    };
    let pictures = (0..x.dim(0)?).map(picture).collect::<CandleResult<Vec<_>>>()?;
    match &pictures[..] {
        [picture] => Ok(picture.clone()),
        pictures => Tensor::cat(pictures, 0),
    }
}

/// `x + gate · change`, `gate`: `(batch, 1, width)`.
pub(crate) fn gated(x: &Tensor, gate: &Tensor, change: &Tensor) -> CandleResult<Tensor> {
    x + change.broadcast_mul(gate)?
}
