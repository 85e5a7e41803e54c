//! From latents to pictures.

use candle_core::{Result as CandleResult, Tensor};

use super::VaeConfig;
use super::attention::MidBlock;
use super::tiles::Tiles;
use crate::error::Error;
use crate::planes::{Conv2d, Dims, GroupNorm, Kernel, Planes, conv2d};
use crate::resnet::{Resnet, ResnetShape, Upsample};
use crate::weights::Weights;

/// Pictures of more pixels are decoded in tiles: beyond it the widest layers need more memory than many devices
/// have, and the reference makes no such pictures.
const MAX_WHOLE_PIXELS: usize = 3 << 19;

pub(crate) struct VaeDecoder {
    scaling_factor: f64,
    shift_factor: f64,
    post_quant_conv: Option<Conv2d>,
    conv_in: Conv2d,
    mid: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    tiles: Tiles,
    max_whole_latents: usize,
}

struct UpBlock {
    resnets: Vec<Resnet>,
    upsample: Option<Upsample>,
}

impl VaeDecoder {
    pub(crate) fn load(config: &VaeConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let decoder = weights.pp("decoder");
        let (latents, scale) = (config.latent_channels, config.scale() as usize);
        let (first, deepest) = config.ends();
        let post_quant_conv = config
            .use_post_quant_conv
            .unwrap_or(true)
            .then(|| conv2d(latents, latents, Kernel::POINT, &weights.pp("post_quant_conv")))
            .transpose()?;
        Ok(Self {
            scaling_factor: config.scaling_factor,
            shift_factor: config.shift_factor.unwrap_or(0.0),
            post_quant_conv,
            conv_in: conv2d(latents, deepest, Kernel::SAME, &decoder.pp("conv_in"))?,
            mid: MidBlock::load(deepest, config, &decoder.pp("mid_block"))?,
            up_blocks: up_blocks(config, &decoder.pp("up_blocks"))?,
            conv_norm_out: config.groups().norm(first, &decoder.pp("conv_norm_out"))?,
            conv_out: conv2d(first, config.out_channels, Kernel::SAME, &decoder.pp("conv_out"))?,
            tiles: Tiles::new(config.sample_size, scale),
            max_whole_latents: MAX_WHOLE_PIXELS / (scale * scale),
        })
    }

    /// Latents `(batch, latent_channels, height, width)` to pictures `(batch, 3, height · scale, width · scale)`
    /// in about [-1, 1]; in tiles where the pictures are large.
    pub(crate) fn forward(&self, latents: &Tensor) -> CandleResult<Tensor> {
        let (_, _, height, width) = latents.dims4()?;
        if height * width > self.max_whole_latents {
            return self.forward_tiled(latents);
        }
        self.forward_whole(&self.unscale(latents)?)
    }

    /// As [`Self::forward`], in tiles whatever the size; diffusers' `AutoencoderKL.tiled_decode`.
    pub(crate) fn forward_tiled(&self, latents: &Tensor) -> CandleResult<Tensor> {
        self.tiles.decode(&self.unscale(latents)?, |tile| self.forward_whole(tile))
    }

    fn unscale(&self, latents: &Tensor) -> CandleResult<Tensor> {
        latents.affine(1.0 / self.scaling_factor, self.shift_factor)
    }

    fn forward_whole(&self, latents: &Tensor) -> CandleResult<Tensor> {
        let latents = Planes::new(latents)?;
        let x = match &self.post_quant_conv {
            Some(conv) => conv.forward(&latents)?,
            None => latents,
        };
        let mut x = self.mid.forward(&self.conv_in.forward(&x)?)?;
        for block in &self.up_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(upsample) = &block.upsample {
                let Dims { height, width, .. } = x.dims()?;
                x = upsample.forward(&x, 2 * height, 2 * width)?;
            }
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)?.tensor()
    }
}

/// Decoder blocks from the deepest; all but the last one double the size.
fn up_blocks(config: &VaeConfig, weights: &Weights<'_>) -> Result<Vec<UpBlock>, Error> {
    let count = config.block_out_channels.len();
    let mut inputs = config.block_out_channels[count - 1];
    let mut blocks = Vec::with_capacity(count);
    for (index, outputs) in config.block_out_channels.iter().rev().copied().enumerate() {
        let weights = weights.pp(index);
        let resnet = |layer: usize| {
            let shape =
                ResnetShape { inputs: if layer == 0 { inputs } else { outputs }, outputs, time: None };
            Resnet::load(shape, config.groups(), &weights.pp("resnets").pp(layer))
        };
        let resnets = (0..=config.layers_per_block).map(resnet).collect::<Result<_, _>>()?;
        let upsample =
            (index + 1 < count).then(|| Upsample::load(outputs, &weights.pp("upsamplers.0"))).transpose()?;
        blocks.push(UpBlock { resnets, upsample });
        inputs = outputs;
    }
    Ok(blocks)
}
