//! The residual block and the resizing layers that UNet and VAE share.

use candle_core::{Result as CandleResult, Tensor};
use candle_nn::{GroupNorm, Module};

use crate::error::Error;
use crate::layers::{Conv2d, Groups, Kernel, Linear, conv2d, linear};
use crate::weights::Weights;

/// Two 3 × 3 convolutions around an optional timestep embedding, and a shortcut; diffusers `ResnetBlock2D`.
pub(crate) struct Resnet {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

/// Channels of a [`Resnet`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResnetShape {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Width of the timestep embedding, where there is one.
    pub(crate) time: Option<usize>,
}

impl Resnet {
    pub(crate) fn load(shape: ResnetShape, groups: Groups, weights: &Weights<'_>) -> Result<Self, Error> {
        let ResnetShape { inputs, outputs, time } = shape;
        let time_emb_proj =
            time.map(|width| linear(width, outputs, &weights.pp("time_emb_proj"))).transpose()?;
        let conv_shortcut = (inputs != outputs)
            .then(|| conv2d(inputs, outputs, Kernel::POINT, &weights.pp("conv_shortcut")))
            .transpose()?;
        Ok(Self {
            norm1: groups.norm(inputs, &weights.pp("norm1"))?,
            conv1: conv2d(inputs, outputs, Kernel::SAME, &weights.pp("conv1"))?,
            time_emb_proj,
            norm2: groups.norm(outputs, &weights.pp("norm2"))?,
            conv2: conv2d(outputs, outputs, Kernel::SAME, &weights.pp("conv2"))?,
            conv_shortcut,
        })
    }

    /// `x`: `(batch, inputs, height, width)`. `time`: `(1 or batch, time)`, already through its activation. The result
    /// is `(batch, outputs, height, width)`.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> CandleResult<Tensor> {
        let mut h = self.conv1.forward(&self.norm1.forward(x)?.silu()?)?;
        if let (Some(projection), Some(time)) = (&self.time_emb_proj, time) {
            h = h.broadcast_add(&projection.forward(time)?.unsqueeze(2)?.unsqueeze(3)?)?;
        }
        let h = self.conv2.forward(&self.norm2.forward(&h)?.silu()?)?;
        match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x)? + h,
            None => x + h,
        }
    }
}

/// Nearest-neighbour enlargement and a convolution.
pub(crate) struct Upsample(Conv2d);

impl Upsample {
    pub(crate) fn load(channels: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        Ok(Self(conv2d(channels, channels, Kernel::SAME, &weights.pp("conv"))?))
    }

    /// `(batch, channels, …)` to `(batch, channels, height, width)`.
    pub(crate) fn forward(&self, x: &Tensor, height: usize, width: usize) -> CandleResult<Tensor> {
        self.0.forward(&x.upsample_nearest2d(height, width)?)
    }
}
