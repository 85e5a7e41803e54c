//! Feature maps, and the layers that work on them.

use candle_core::{Result as CandleResult, Tensor};
use candle_nn::{Conv2dConfig, Module};

use crate::error::Error;
use crate::kernels::{self, Convolution, Pointwise, Start, floats, has_floats};
use crate::parameters::Parameter;
use crate::weights::Weights;

/// Feature maps `(batch, channels, height, width)`: channels-last in memory where kernels on the CPU compute, else
/// in candle's order.
#[derive(Clone)]
pub(crate) struct Planes {
    tensor: Tensor,
    order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    ChannelsFirst,
    ChannelsLast,
}

/// Sizes of feature maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dims {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Planes {
    /// `x`: `(batch, channels, height, width)`.
    pub(crate) fn new(x: &Tensor) -> CandleResult<Self> {
        if has_floats(x) {
            let tensor = x.permute((0, 2, 3, 1))?.contiguous()?;
            return Ok(Self { tensor, order: Order::ChannelsLast });
        }
        Ok(Self { tensor: x.clone(), order: Order::ChannelsFirst })
    }

    /// Contiguous `(batch, channels, height, width)`.
    pub(crate) fn tensor(&self) -> CandleResult<Tensor> {
        match self.order {
            Order::ChannelsFirst => self.tensor.contiguous(),
            Order::ChannelsLast => self.tensor.permute((0, 3, 1, 2))?.contiguous(),
        }
    }

    pub(crate) fn dims(&self) -> CandleResult<Dims> {
        let (batch, first, second, third) = self.tensor.dims4()?;
        Ok(match self.order {
            Order::ChannelsFirst => Dims { batch, channels: first, height: second, width: third },
            Order::ChannelsLast => Dims { batch, channels: third, height: first, width: second },
        })
    }

    /// Contiguous `(batch, height · width, channels)`.
    pub(crate) fn tokens(&self) -> CandleResult<Tensor> {
        match self.order {
            Order::ChannelsFirst => self.tensor.flatten_from(2)?.transpose(1, 2)?.contiguous(),
            Order::ChannelsLast => self.tensor.flatten(1, 2),
        }
    }

    /// The inverse of [`Self::tokens`], for planes of `height` × `width`.
    pub(crate) fn from_tokens(x: &Tensor, height: usize, width: usize) -> CandleResult<Self> {
        let (batch, _, channels) = x.dims3()?;
        if has_floats(x) {
            let tensor = x.reshape((batch, height, width, channels))?;
            return Ok(Self { tensor, order: Order::ChannelsLast });
        }
        let tensor = x.transpose(1, 2)?.contiguous()?.reshape((batch, channels, height, width))?;
        Ok(Self { tensor, order: Order::ChannelsFirst })
    }

    /// The sum of two of the same sizes.
    pub(crate) fn add(&self, other: &Self) -> CandleResult<Self> {
        if self.order == Order::ChannelsFirst {
            return Ok(Self { tensor: (&self.tensor + &other.tensor)?, order: self.order });
        }
        let sum = kernels::add(&floats(&self.tensor)?, &floats(&other.tensor)?);
        self.like(sum, self.dims()?)
    }

    /// The channels of both, of the same other sizes.
    pub(crate) fn concatenate(&self, other: &Self) -> CandleResult<Self> {
        if self.order == Order::ChannelsFirst {
            return Ok(Self { tensor: Tensor::cat(&[&self.tensor, &other.tensor], 1)?, order: self.order });
        }
        let (dims, more) = (self.dims()?, other.dims()?.channels);
        let (own, others) = (floats(&self.tensor)?, floats(&other.tensor)?);
        let both = kernels::concatenate(&own, dims.channels, &others, more);
        self.like(both, Dims { channels: dims.channels + more, ..dims })
    }

    /// The nearest pixel for each of `height` × `width`.
    pub(crate) fn upsample(&self, height: usize, width: usize) -> CandleResult<Self> {
        if self.order == Order::ChannelsFirst {
            return Ok(Self { tensor: self.tensor.upsample_nearest2d(height, width)?, order: self.order });
        }
        let dims = self.dims()?;
        let from = (dims.height, dims.width);
        let enlarged = kernels::upsample(&floats(&self.tensor)?, dims.channels, from, (height, width));
        self.like(enlarged, Dims { height, width, ..dims })
    }

    /// Channels-last numbers as planes.
    fn like(&self, values: Vec<f32>, dims: Dims) -> CandleResult<Self> {
        let shape = (dims.batch, dims.height, dims.width, dims.channels);
        Ok(Self { tensor: kernels::tensor(values, shape)?, order: Order::ChannelsLast })
    }
}

/// A convolution with a square kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel {
    pub(crate) size: usize,
    pub(crate) stride: usize,
    /// Zeros before the first row and column, and after the last.
    pub(crate) padding: (usize, usize),
}

impl Kernel {
    /// 3 × 3, keeping the size.
    pub(crate) const SAME: Self = Self { size: 3, stride: 1, padding: (1, 1) };
    /// 1 × 1.
    pub(crate) const POINT: Self = Self { size: 1, stride: 1, padding: (0, 0) };

    /// Of a patch, side by side with the next.
    pub(crate) const fn patch(size: usize) -> Self {
        Self { size, stride: size, padding: (0, 0) }
    }
}

/// A convolution, whose weight a LoRA may change.
pub(crate) struct Conv2d {
    weight: Parameter,
    bias: Option<Tensor>,
    kernel: Kernel,
}

/// With bias, from `inputs` channels to `outputs`.
pub(crate) fn conv2d(
    inputs: usize,
    outputs: usize,
    kernel: Kernel,
    weights: &Weights<'_>,
) -> Result<Conv2d, Error> {
    let bias = Some(weights.get("bias", outputs)?);
    Ok(Conv2d { bias, ..conv2d_no_bias(inputs, outputs, kernel, weights)? })
}

/// Without bias, from `inputs` channels to `outputs`.
pub(crate) fn conv2d_no_bias(
    inputs: usize,
    outputs: usize,
    kernel: Kernel,
    weights: &Weights<'_>,
) -> Result<Conv2d, Error> {
    let shape = (outputs, inputs, kernel.size, kernel.size);
    Ok(Conv2d { weight: weights.parameter("weight", shape, shape)?, bias: None, kernel })
}

impl Conv2d {
    pub(crate) fn forward(&self, x: &Planes) -> CandleResult<Planes> {
        self.forward_from(x, None, None)
    }

    /// The result and `around`, which is like it.
    pub(crate) fn forward_around(&self, x: &Planes, around: &Planes) -> CandleResult<Planes> {
        self.forward_from(x, None, Some(around))
    }

    /// The result and `shift`, `(1 or batch, outputs)`, at each pixel.
    pub(crate) fn forward_shifted(&self, x: &Planes, shift: &Tensor) -> CandleResult<Planes> {
        self.forward_from(x, Some(shift), None)
    }

    fn forward_from(
        &self,
        x: &Planes,
        shift: Option<&Tensor>,
        around: Option<&Planes>,
    ) -> CandleResult<Planes> {
        if x.order == Order::ChannelsFirst {
            return self.forward_on_device(x, shift, around);
        }
        let Some(packed) = self.weight.packed()? else {
            candle_core::bail!("the weight is not on the CPU, where the feature maps are")
        };
        let dims = x.dims()?;
        if let Some(shift) = shift.filter(|shift| ![1, dims.batch].contains(&shift.dims()[0])) {
            candle_core::bail!("shifts of shape {:?} for {} pictures", shift.shape(), dims.batch)
        }
        let bias = match (&self.bias, shift) {
            (Some(bias), Some(shift)) => Some(shift.broadcast_add(bias)?),
            (Some(bias), None) => Some(bias.contiguous()?),
            (None, shift) => shift.map(Tensor::contiguous).transpose()?,
        };
        let bias = bias.as_ref().map(floats).transpose()?;
        let around = around.map(|around| floats(&around.tensor)).transpose()?;
        let Kernel { size, stride, padding } = self.kernel;
        let shape = Convolution { size, stride, padding, height: dims.height, width: dims.width };
        let start = Start { bias: bias.as_deref(), around: around.as_deref() };
        let (height, width) = shape.result();
        let values = kernels::convolve(&floats(&x.tensor)?, shape, &packed, start);
        x.like(values, Dims { batch: dims.batch, channels: packed.outputs(), height, width })
    }

    fn forward_on_device(
        &self,
        x: &Planes,
        shift: Option<&Tensor>,
        around: Option<&Planes>,
    ) -> CandleResult<Planes> {
        let Kernel { stride, padding: (before, after), .. } = self.kernel;
        let mut x = x.tensor.clone();
        if before != after {
            x = x.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
        }
        let padding = if before == after { before } else { 0 };
        let config = Conv2dConfig { padding, stride, ..Default::default() };
        let mut x = candle_nn::Conv2d::new(self.weight.tensor()?, self.bias.clone(), config).forward(&x)?;
        if let Some(shift) = shift {
            x = x.broadcast_add(&shift.unsqueeze(2)?.unsqueeze(3)?)?;
        }
        if let Some(around) = around {
            x = (&around.tensor + x)?;
        }
        Ok(Planes { tensor: x, order: Order::ChannelsFirst })
    }
}

/// Normalisation over groups of channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Groups {
    pub(crate) count: usize,
    pub(crate) eps: f64,
}

impl Groups {
    pub(crate) fn norm(self, channels: usize, weights: &Weights<'_>) -> Result<GroupNorm, Error> {
        let (weight, bias) = (weights.get("weight", channels)?, weights.get("bias", channels)?);
        // Checks that channels divide into groups.
        candle_nn::GroupNorm::new(weight.clone(), bias.clone(), channels, self.count, self.eps)?;
        Ok(GroupNorm { weight, bias, groups: self })
    }
}

/// A normalisation over groups of channels with its weights.
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: Groups,
}

impl GroupNorm {
    pub(crate) fn forward(&self, x: &Planes) -> CandleResult<Planes> {
        self.forward_then(x, None)
    }

    /// And a SiLU of that.
    pub(crate) fn forward_silu(&self, x: &Planes) -> CandleResult<Planes> {
        self.forward_then(x, Some(Pointwise::Silu))
    }

    fn forward_then(&self, x: &Planes, then: Option<Pointwise>) -> CandleResult<Planes> {
        let (dims, Groups { count, eps }) = (x.dims()?, self.groups);
        if x.order == Order::ChannelsFirst {
            let (weight, bias) = (self.weight.clone(), self.bias.clone());
            let norm = candle_nn::GroupNorm::new(weight, bias, dims.channels, count, eps)?;
            let normed = norm.forward(&x.tensor)?;
            let tensor = if then.is_some() { normed.silu()? } else { normed };
            return Ok(Planes { tensor, order: x.order });
        }
        let (weight, bias) = (self.weight.contiguous()?, self.bias.contiguous()?);
        let weights = (&*floats(&weight)?, &*floats(&bias)?);
        let pixels = dims.height * dims.width;
        let normed = kernels::group_norm(&floats(&x.tensor)?, pixels, weights, (count, eps), then);
        x.like(normed, dims)
    }
}
