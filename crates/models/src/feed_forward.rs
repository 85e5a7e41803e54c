//! The feed-forward network of transformers that denoise; diffusers `FeedForward` with `gelu-approximate`.

use candle_core::{Result as CandleResult, Tensor};

use crate::error::Error;
use crate::kernels::Pointwise;
use crate::layers::{Linear, linear, pointwise};
use crate::weights::Weights;

/// Inner width, in widths of the input.
pub(crate) const FEED_FORWARD_FACTOR: usize = 4;

/// Two linear layers around a GELU by its tanh approximation.
pub(crate) struct FeedForward {
    proj: Linear,
    out: Linear,
}

impl FeedForward {
    /// `weights`: of the network's `net`.
    pub(crate) fn load(width: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        let inner = width * FEED_FORWARD_FACTOR;
        Ok(Self {
            proj: linear(width, inner, &weights.pp("0.proj"))?,
            out: linear(inner, width, &weights.pp("2"))?,
        })
    }

    /// `(batch, tokens, width)` to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.out.forward(&pointwise(Pointwise::GeluTanh, &self.proj.forward(x)?)?)
    }
}
