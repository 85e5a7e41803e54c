//! Layers made from checked weights.

use candle_core::{D, Result as CandleResult, Tensor};
use candle_nn::{Embedding, Module as _, RmsNorm};

use crate::error::Error;
use crate::kernels::{self, Packed, Pointwise, Start, floats, has_floats};
use crate::parameters::{Parameter, Value};
use crate::weights::Weights;

/// A linear layer, whose weight a LoRA may change.
pub(crate) struct Linear {
    weight: Parameter,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight`: `(outputs, inputs)`, of which a LoRA does not hear.
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight: Parameter::new(Value::Plain(weight)), bias }
    }

    /// `(…, inputs)` to `(…, outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.forward_from(x, None)
    }

    /// The result and `around`, which is like it.
    pub(crate) fn forward_around(&self, x: &Tensor, around: &Tensor) -> CandleResult<Tensor> {
        self.forward_from(x, Some(around))
    }

    fn forward_from(&self, x: &Tensor, around: Option<&Tensor>) -> CandleResult<Tensor> {
        let packed = if has_floats(x) { self.weight.packed()? } else { None };
        let Some(packed) = packed else {
            let result = candle_nn::Linear::new(self.weight.tensor()?, self.bias.clone()).forward(x)?;
            return match around {
                Some(around) => around + result,
                None => Ok(result),
            };
        };
        let shape = shape(x, &packed, packed.outputs())?;
        let (x, bias) = (x.contiguous()?, self.bias.as_ref().map(Tensor::contiguous).transpose()?);
        let around = around.map(Tensor::contiguous).transpose()?;
        let bias = bias.as_ref().map(floats).transpose()?;
        let around = around.as_ref().map(floats).transpose()?;
        let start = Start { bias: bias.as_deref(), around: around.as_deref() };
        kernels::tensor(kernels::multiply(&floats(&x)?, &packed, start), shape)
    }

    /// `value · gelu(gate)` of the outputs, values and then gates: `(…, inputs)` to `(…, outputs / 2)`. The GELU is by
    /// the error function.
    pub(crate) fn forward_gated(&self, x: &Tensor) -> CandleResult<Tensor> {
        let packed = if has_floats(x) { self.weight.packed()? } else { None };
        let Some(packed) = packed else {
            let both = self.forward(x)?;
            let width = both.dim(D::Minus1)? / 2;
            let gate = both.narrow(D::Minus1, width, width)?.contiguous()?.gelu_erf()?;
            return both.narrow(D::Minus1, 0, width)? * gate;
        };
        let shape = shape(x, &packed, packed.outputs() / 2)?;
        let (x, bias) = (x.contiguous()?, self.bias.as_ref().map(Tensor::contiguous).transpose()?);
        let bias = bias.as_ref().map(floats).transpose()?;
        kernels::tensor(kernels::multiply_gated(&floats(&x)?, &packed, bias.as_deref()), shape)
    }
}

/// That of `x` with another last dimension.
///
/// # Errors
/// When `x` does not have as many numbers there as the layer has inputs.
fn shape(x: &Tensor, packed: &Packed, last: usize) -> CandleResult<Vec<usize>> {
    match x.dims() {
        [first @ .., inputs] if *inputs == packed.inputs() => Ok([first, &[last]].concat()),
        dims => candle_core::bail!("{dims:?} for a layer of {} inputs", packed.inputs()),
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

/// A normalisation over the last dimension with its weights.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

/// Normalisation over the last dimension.
pub(crate) fn layer_norm(size: usize, eps: f64, weights: &Weights<'_>) -> Result<LayerNorm, Error> {
    Ok(LayerNorm::new(weights.get("weight", size)?, weights.get("bias", size)?, eps))
}

impl LayerNorm {
    /// `weight` and `bias`: of the size of that dimension.
    pub(crate) fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// `(…, size)` to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        if !has_floats(x) {
            return candle_nn::LayerNorm::new(self.weight.clone(), self.bias.clone(), self.eps).forward(x);
        }
        let (x, weight, bias) = (x.contiguous()?, self.weight.contiguous()?, self.bias.contiguous()?);
        let weights = (&*floats(&weight)?, &*floats(&bias)?);
        kernels::tensor(kernels::layer_norm(&floats(&x)?, weights, self.eps), x.shape())
    }
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
        let function = match self {
            Self::Gelu => Pointwise::Gelu,
            Self::QuickGelu => Pointwise::QuickGelu,
        };
        pointwise(function, x)
    }
}

/// The function of each number.
pub(crate) fn pointwise(function: Pointwise, x: &Tensor) -> CandleResult<Tensor> {
    if has_floats(x) {
        let x = x.contiguous()?;
        return kernels::tensor(kernels::apply(function, &floats(&x)?), x.shape());
    }
    match function {
        Pointwise::Silu => x.silu(),
        Pointwise::Gelu => x.gelu_erf(),
        Pointwise::GeluTanh => x.gelu(),
        Pointwise::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
    }
}
