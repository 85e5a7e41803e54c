//! The blocks of the U-Net on its way down and up.

use candle_core::{Result as CandleResult, Tensor};

use super::config::{BlockConfig, UnetConfig};
use super::transformer::Transformer;
use crate::error::Error;
use crate::planes::{Conv2d, Dims, Kernel, Planes, conv2d};
use crate::resnet::{Resnet, ResnetShape, Upsample};
use crate::weights::Weights;

/// Halves the size.
const HALVING: Kernel = Kernel { size: 3, stride: 2, padding: (1, 1) };

/// A residual block, and attention to the text where the block has it.
pub(super) struct Layer {
    resnet: Resnet,
    attention: Option<Transformer>,
}

impl Layer {
    fn load(
        shape: ResnetShape,
        block: &BlockConfig,
        (config, index): (&UnetConfig, usize),
        weights: &Weights<'_>,
    ) -> Result<Self, Error> {
        let attention = block
            .has_attention
            .then(|| Transformer::load(block, config, &weights.pp("attentions").pp(index)))
            .transpose()?;
        let resnet = Resnet::load(shape, config.groups, &weights.pp("resnets").pp(index))?;
        Ok(Self { resnet, attention })
    }

    pub(super) fn forward(&self, x: &Planes, time: &Tensor, text: &Tensor) -> CandleResult<Planes> {
        let x = self.resnet.forward(x, Some(time))?;
        match &self.attention {
            Some(attention) => attention.forward(&x, text),
            None => Ok(x),
        }
    }
}

/// diffusers `DownBlock2D` and `CrossAttnDownBlock2D`.
pub(super) struct DownBlock {
    layers: Vec<Layer>,
    downsample: Option<Conv2d>,
}

impl DownBlock {
    /// `shape` is of the whole block.
    pub(super) fn load(
        shape: ResnetShape,
        block: &BlockConfig,
        config: &UnetConfig,
        weights: &Weights<'_>,
    ) -> Result<Self, Error> {
        let channels = shape.outputs;
        let layer = |index: usize| {
            let inputs = if index == 0 { shape.inputs } else { channels };
            Layer::load(ResnetShape { inputs, ..shape }, block, (config, index), weights)
        };
        let layers = (0..block.layers).map(layer).collect::<Result<_, _>>()?;
        let downsample = block
            .halves
            .then(|| conv2d(channels, channels, HALVING, &weights.pp("downsamplers.0.conv")))
            .transpose()?;
        Ok(Self { layers, downsample })
    }

    /// Puts each layer's result, and the halved one, aside in `skips`.
    pub(super) fn forward(
        &self,
        x: &Planes,
        time: &Tensor,
        text: &Tensor,
        skips: &mut Vec<Planes>,
    ) -> CandleResult<Planes> {
        let mut x = x.clone();
        for layer in &self.layers {
            x = layer.forward(&x, time, text)?;
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(&x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// diffusers `UNetMidBlock2DCrossAttn`.
pub(super) struct MidBlock {
    first: Layer,
    second: Resnet,
}

impl MidBlock {
    pub(super) fn load(
        shape: ResnetShape,
        config: &UnetConfig,
        weights: &Weights<'_>,
    ) -> Result<Self, Error> {
        let block = BlockConfig { has_attention: true, ..*config.deepest() };
        Ok(Self {
            first: Layer::load(shape, &block, (config, 0), weights)?,
            second: Resnet::load(shape, config.groups, &weights.pp("resnets.1"))?,
        })
    }

    pub(super) fn forward(&self, x: &Planes, time: &Tensor, text: &Tensor) -> CandleResult<Planes> {
        self.second.forward(&self.first.forward(x, time, text)?, Some(time))
    }
}

/// diffusers `UpBlock2D` and `CrossAttnUpBlock2D`.
pub(super) struct UpBlock {
    layers: Vec<Layer>,
    upsample: Option<Upsample>,
}

impl UpBlock {
    /// `shape` is of the whole block, without what comes in from the way down.
    pub(super) fn load(
        shape: ResnetShape,
        block: &BlockConfig,
        config: &UnetConfig,
        weights: &Weights<'_>,
    ) -> Result<Self, Error> {
        let channels = shape.outputs;
        let layer = |index: usize| {
            // Every skip is as wide as this block but the last, which came out of the block before it.
            let skip = if index == block.layers { block.outer_channels } else { channels };
            let inputs = if index == 0 { shape.inputs } else { channels } + skip;
            Layer::load(ResnetShape { inputs, ..shape }, block, (config, index), weights)
        };
        let layers = (0..=block.layers).map(layer).collect::<Result<_, _>>()?;
        let upsample =
            block.doubles.then(|| Upsample::load(channels, &weights.pp("upsamplers.0"))).transpose()?;
        Ok(Self { layers, upsample })
    }

    /// Leaves the block without its last layer.
    pub(super) fn take_last(&mut self) -> Option<Layer> {
        self.layers.pop()
    }

    /// Takes as many of `skips` as there are layers, the newest first.
    pub(super) fn forward(
        &self,
        x: &Planes,
        time: &Tensor,
        text: &Tensor,
        skips: &mut Vec<Planes>,
    ) -> CandleResult<Planes> {
        let mut x = x.clone();
        for layer in &self.layers {
            if let Some(skip) = skips.pop() {
                x = x.concatenate(&skip)?;
            }
            x = layer.forward(&x, time, text)?;
        }
        match (&self.upsample, skips.last()) {
            // To the size of the next skip: twice the size, or one less where halving had rounded up.
            (Some(upsample), Some(skip)) => {
                let Dims { height, width, .. } = skip.dims()?;
                upsample.forward(&x, height, width)
            }
            _ => Ok(x),
        }
    }
}
