//! The residual block and the resizing layers that UNet and VAE share.

use candle_core::{Result as CandleResult, Tensor};

use crate::error::Error;
use crate::layers::{Linear, linear};
use crate::planes::{Conv2d, GroupNorm, Groups, Kernel, Planes, conv2d};
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

    /// `x`: of `inputs` channels. `time`: `(1 or batch, time)`, already through its activation. The result is of
    /// `outputs` channels.
    pub(crate) fn forward(&self, x: &Planes, time: Option<&Tensor>) -> CandleResult<Planes> {
        let normed = self.norm1.forward_silu(x)?;
        let h = match (&self.time_emb_proj, time) {
            (Some(projection), Some(time)) => {
                self.conv1.forward_shifted(&normed, &projection.forward(time)?)?
            }
            _ => self.conv1.forward(&normed)?,
        };
        let normed = self.norm2.forward_silu(&h)?;
        match &self.conv_shortcut {
            Some(shortcut) => self.conv2.forward_around(&normed, &shortcut.forward(x)?),
            None => self.conv2.forward_around(&normed, x),
        }
    }
}

/// Nearest-neighbour enlargement and a convolution.
pub(crate) struct Upsample(Conv2d);

impl Upsample {
    pub(crate) fn load(channels: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        Ok(Self(conv2d(channels, channels, Kernel::SAME, &weights.pp("conv"))?))
    }

    /// To `height` × `width`.
    pub(crate) fn forward(&self, x: &Planes, height: usize, width: usize) -> CandleResult<Planes> {
        self.0.forward(&x.upsample(height, width)?)
    }
}
