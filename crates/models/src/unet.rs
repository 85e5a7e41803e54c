//! The denoising U-Net (Rombach et al. 2022); diffusers `UNet2DConditionModel`.

mod blocks;
mod config;
mod deep;
mod time;
mod transformer;

use candle_core::{DType, Device, Result as CandleResult, Tensor};

use self::blocks::{DownBlock, Layer, MidBlock, UpBlock};
pub(crate) use self::config::UnetConfig;
pub(crate) use self::deep::DeepFeatures;
use self::time::TimeEmbedding;
pub(crate) use self::time::{Added, SIZE_NUMBERS};
use crate::error::Error;
use crate::planes::{Conv2d, GroupNorm, Kernel, Planes, conv2d};
use crate::resnet::ResnetShape;
use crate::weights::Weights;

/// What a U-Net is told besides the latents.
pub(crate) struct UnetInput<'a> {
    pub(crate) timestep: f32,
    /// Hidden states `(batch, tokens, cross_attention_dim)` in the model's dtype.
    pub(crate) text: &'a Tensor,
    /// For a model that is told more.
    pub(crate) added: Option<&'a Added>,
}

pub(crate) struct Unet {
    conv_in: Conv2d,
    time: TimeEmbedding,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    /// The last layer of the last up block, apart from it.
    outermost: Layer,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    dtype: DType,
    device: Device,
}

impl Unet {
    pub(crate) fn load(config: &UnetConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let first = config.blocks[0].channels;
        let deepest = config.deepest().channels;
        let time_width = first * 4;
        let out = config.groups.norm(first, &weights.pp("conv_norm_out"))?;
        let mut up_blocks = up_blocks(config, time_width, &weights.pp("up_blocks"))?;
        let outermost = up_blocks.last_mut().and_then(UpBlock::take_last);
        Ok(Self {
            conv_in: conv2d(config.in_channels, first, Kernel::SAME, &weights.pp("conv_in"))?,
            time: TimeEmbedding::load(config, time_width, weights)?,
            down_blocks: down_blocks(config, time_width, &weights.pp("down_blocks"))?,
            mid_block: MidBlock::load(
                ResnetShape { inputs: deepest, outputs: deepest, time: Some(time_width) },
                config,
                &weights.pp("mid_block"),
            )?,
            up_blocks,
            outermost: outermost.expect("there is an up block, and a layer in it"),
            conv_norm_out: out,
            conv_out: conv2d(first, config.out_channels, Kernel::SAME, &weights.pp("conv_out"))?,
            dtype: weights.dtype(),
            device: weights.device().clone(),
        })
    }

    /// The model's prediction at one timestep, f32 and of the latents' shape.
    ///
    /// `latents`: f32 `(batch, in_channels, height, width)`, each side at least 1. `deep`: of the passes before.
    pub(crate) fn forward(
        &self,
        latents: &Tensor,
        input: &UnetInput<'_>,
        deep: &mut DeepFeatures,
    ) -> Result<Tensor, Error> {
        let UnetInput { timestep, text, added } = *input;
        let time = self.time.forward(timestep, added, (self.dtype, &self.device))?;
        let mut x = self.conv_in.forward(&Planes::new(&latents.to_dtype(self.dtype)?)?)?;
        x = deep.next_or(|| self.deep(&x, &time, text))?.concatenate(&x)?;
        x = self.outermost.forward(&x, &time, text)?;
        x = self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)?;
        Ok(x.tensor()?.to_dtype(DType::F32)?)
    }

    /// All between the first convolution, which made `first`, and the outermost layer.
    fn deep(&self, first: &Planes, time: &Tensor, text: &Tensor) -> CandleResult<Planes> {
        let mut x = first.clone();
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(&x, time, text, &mut skips)?;
        }
        x = self.mid_block.forward(&x, time, text)?;
        for block in &self.up_blocks {
            x = block.forward(&x, time, text, &mut skips)?;
        }
        Ok(x)
    }
}

/// From the full size down; all but the last one halve it.
fn down_blocks(config: &UnetConfig, time: usize, weights: &Weights<'_>) -> Result<Vec<DownBlock>, Error> {
    let mut inputs = config.blocks[0].channels;
    let mut blocks = Vec::with_capacity(config.blocks.len());
    for (index, block) in config.blocks.iter().enumerate() {
        let shape = ResnetShape { inputs, outputs: block.channels, time: Some(time) };
        blocks.push(DownBlock::load(shape, block, config, &weights.pp(index))?);
        inputs = block.channels;
    }
    Ok(blocks)
}

/// From the deepest up, the mirror of [`down_blocks`]: each takes what its counterpart put aside.
fn up_blocks(config: &UnetConfig, time: usize, weights: &Weights<'_>) -> Result<Vec<UpBlock>, Error> {
    let mut inputs = config.deepest().channels;
    let mut blocks = Vec::with_capacity(config.blocks.len());
    for (index, block) in config.up_blocks().enumerate() {
        let shape = ResnetShape { inputs, outputs: block.channels, time: Some(time) };
        blocks.push(UpBlock::load(shape, &block, config, &weights.pp(index))?);
        inputs = block.channels;
    }
    Ok(blocks)
}
