//! Layers made from checked weights.

use candle_core::{D, Result as CandleResult, Tensor};
use candle_nn::{Conv2dConfig, Embedding, GroupNorm, LayerNorm, Module, RmsNorm};

use crate::error::Error;
use crate::parameters::Parameter;
use crate::weights::Weights;

/// A linear layer, whose weight a LoRA may change.
pub(crate) struct Linear {
    weight: Parameter,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight`: `(outputs, inputs)`, of which a LoRA does not hear.
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight: Parameter::new(weight), bias }
    }

    /// `(…, inputs)` to `(…, outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        candle_nn::Linear::new(self.weight.tensor(), self.bias.clone()).forward(x)
    }
}

/// `(…, inputs)` to `(…, outputs)`, with bias.
pub(crate) fn linear(inputs: usize, outputs: usize, weights: &Weights<'_>) -> Result<Linear, Error> {
    let bias = Some(weights.get("bias", outputs)?);
    Ok(Linear { bias, ..linear_no_bias(inputs, outputs, weights)? })
}

/// `(…, inputs)` to `(…, outputs)`, without bias.
pub(crate) fn linear_no_bias(inputs: usize, outputs: usize, weights: &Weights<'_>) -> Result<Linear, Error> {
    let shape = (outputs, inputs);
    Ok(Linear { weight: weights.parameter("weight", shape, shape)?, bias: None })
}

/// A 1 × 1 convolution stored as `(outputs, inputs, 1, 1)`, as the linear layer over channels-last tokens that
/// it is.
pub(crate) fn linear_from_conv(
    inputs: usize,
    outputs: usize,
    weights: &Weights<'_>,
) -> Result<Linear, Error> {
    let weight = weights.parameter("weight", (outputs, inputs, 1, 1), (outputs, inputs))?;
    Ok(Linear { weight, bias: Some(weights.get("bias", outputs)?) })
}

/// A convolution with a square kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel {
    pub(crate) size: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Kernel {
    /// 3 × 3, keeping the size.
    pub(crate) const SAME: Self = Self { size: 3, stride: 1, padding: 1 };
    /// 1 × 1.
    pub(crate) const POINT: Self = Self { size: 1, stride: 1, padding: 0 };
}

/// A convolution with bias, whose weight a LoRA may change.
pub(crate) struct Conv2d {
    weight: Parameter,
    bias: Tensor,
    config: Conv2dConfig,
}

impl Conv2d {
    /// `(batch, inputs, height, width)` to `(batch, outputs, …)`.
    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        candle_nn::Conv2d::new(self.weight.tensor(), Some(self.bias.clone()), self.config).forward(x)
    }
}

/// `(batch, inputs, height, width)` to `(batch, outputs, …)`, with bias.
pub(crate) fn conv2d(
    inputs: usize,
    outputs: usize,
    kernel: Kernel,
    weights: &Weights<'_>,
) -> Result<Conv2d, Error> {
    let shape = (outputs, inputs, kernel.size, kernel.size);
    let config = Conv2dConfig { padding: kernel.padding, stride: kernel.stride, ..Default::default() };
    let weight = weights.parameter("weight", shape, shape)?;
    Ok(Conv2d { weight, bias: weights.get("bias", outputs)?, config })
}

/// Normalisation over groups of channels of `(batch, channels, …)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Groups {
    pub(crate) count: usize,
    pub(crate) eps: f64,
}

impl Groups {
    pub(crate) fn norm(self, channels: usize, weights: &Weights<'_>) -> Result<GroupNorm, Error> {
        let (weight, bias) = (weights.get("weight", channels)?, weights.get("bias", channels)?);
        Ok(GroupNorm::new(weight, bias, channels, self.count, self.eps)?)
    }
}

/// Normalisation over the last dimension.
pub(crate) fn layer_norm(size: usize, eps: f64, weights: &Weights<'_>) -> Result<LayerNorm, Error> {
    Ok(LayerNorm::new(weights.get("weight", size)?, weights.get("bias", size)?, eps))
}

/// Scaling to a root mean square of 1 over the last dimension, without bias.
pub(crate) fn rms_norm(size: usize, eps: f64, weights: &Weights<'_>) -> Result<RmsNorm, Error> {
    Ok(RmsNorm::new(weights.get("weight", size)?, eps))
}

/// Ids `(…)` to vectors `(…, size)`.
pub(crate) fn embedding(count: usize, size: usize, weights: &Weights<'_>) -> Result<Embedding, Error> {
    Ok(Embedding::new(weights.get("weight", (count, size))?, size))
}

/// The activation functions of text and vision transformers, by their names in configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub(crate) enum Activation {
    /// With the error function: what the reference means by `gelu`.
    #[serde(rename = "gelu")]
    Gelu,
    /// `x · σ(1.702 x)`.
    #[serde(rename = "quick_gelu")]
    QuickGelu,
}

impl Activation {
    pub(crate) fn apply(self, x: &Tensor) -> CandleResult<Tensor> {
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
        }
    }
}

/// `(batch, channels, height, width)` to contiguous `(batch, height · width, channels)`.
pub(crate) fn tokens_from_planes(x: &Tensor) -> CandleResult<Tensor> {
    x.flatten_from(2)?.transpose(1, 2)?.contiguous()
}

/// The inverse of [`tokens_from_planes`], for planes of `height` × `width`.
pub(crate) fn planes_from_tokens(x: &Tensor, height: usize, width: usize) -> CandleResult<Tensor> {
    let (batch, channels) = (x.dim(0)?, x.dim(D::Minus1)?);
    x.transpose(1, 2)?.contiguous()?.reshape((batch, channels, height, width))
}
