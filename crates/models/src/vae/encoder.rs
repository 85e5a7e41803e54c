//! From pictures to latents.

use candle_core::{DType, Result as CandleResult, Tensor};

use super::VaeConfig;
use super::attention::MidBlock;
use crate::device::Device;
use crate::error::Error;
use crate::folder::{Folder, ModelFolder};
use crate::planes::{Conv2d, GroupNorm, Kernel, Planes, conv2d};
use crate::resnet::{Resnet, ResnetShape};
use crate::weights::{Checkpoint, Weights};

/// Halves the size, with zeros beyond the right and lower edges only.
const HALVING: Kernel = Kernel { size: 3, stride: 2, padding: (0, 1) };

/// The encoder of a text-to-image model's autoencoder. No pipeline needs it to make pictures: it is here for
/// those who want the latents of a picture.
pub struct VaeEncoder {
    scaling_factor: f64,
    shift_factor: f64,
    latent_channels: usize,
    scale: usize,
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    quant_conv: Option<Conv2d>,
}

struct DownBlock {
    resnets: Vec<Resnet>,
    downsample: Option<Conv2d>,
}

impl VaeEncoder {
    /// Reads the component `vae` of a folder in the layout of diffusers. It computes in f32.
    ///
    /// # Errors
    /// As [`crate::load`].
    pub fn load(model: &ModelFolder, device: &Device) -> Result<Self, Error> {
        let folder = Folder::new(model).component("vae");
        let config = VaeConfig::load(&folder)?;
        let checkpoint = Checkpoint::open(folder.weights("diffusion_pytorch_model", DType::F32)?)?;
        Self::assemble(&config, &checkpoint.check(DType::F32))?;
        Self::assemble(&config, &checkpoint.root(device.candle(), DType::F32))
    }

    fn assemble(config: &VaeConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let encoder = weights.pp("encoder");
        let (first, deepest) = config.ends();
        // Mean and logarithm of the variance of each latent.
        let moments = 2 * config.latent_channels;
        let quant_conv = config
            .use_quant_conv
            .unwrap_or(true)
            .then(|| conv2d(moments, moments, Kernel::POINT, &weights.pp("quant_conv")))
            .transpose()?;
        Ok(Self {
            scaling_factor: config.scaling_factor,
            shift_factor: config.shift_factor.unwrap_or(0.0),
            latent_channels: config.latent_channels,
            scale: config.scale() as usize,
            conv_in: conv2d(config.in_channels, first, Kernel::SAME, &encoder.pp("conv_in"))?,
            down_blocks: down_blocks(config, &encoder.pp("down_blocks"))?,
            mid: MidBlock::load(deepest, config, &encoder.pp("mid_block"))?,
            conv_norm_out: config.groups().norm(deepest, &encoder.pp("conv_norm_out"))?,
            conv_out: conv2d(deepest, moments, Kernel::SAME, &encoder.pp("conv_out"))?,
            quant_conv,
        })
    }

    /// The likeliest latents of pictures, scaled as the denoiser expects them: f32
    /// `(batch, 3, height, width)` in [-1, 1] to `(batch, latent_channels, height / scale, width / scale)`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the sides are not multiples of the scale, and failures of the device.
    pub fn encode(&self, pictures: &Tensor) -> Result<Tensor, Error> {
        let (_, _, height, width) = pictures.dims4()?;
        if !height.is_multiple_of(self.scale) || !width.is_multiple_of(self.scale) {
            let scale = self.scale;
            return Err(Error::InvalidInput(format!(
                "width and height must be multiples of {scale}, not {width} x {height}"
            )));
        }
        let mean = self.moments(pictures)?.narrow(1, 0, self.latent_channels)?;
        Ok(mean.affine(self.scaling_factor, -self.shift_factor * self.scaling_factor)?)
    }

    fn moments(&self, pictures: &Tensor) -> CandleResult<Tensor> {
        let mut x = self.conv_in.forward(&Planes::new(pictures)?)?;
        for block in &self.down_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(downsample) = &block.downsample {
                x = downsample.forward(&x)?;
            }
        }
        let moments = self.conv_out.forward(&self.conv_norm_out.forward_silu(&self.mid.forward(&x)?)?)?;
        match &self.quant_conv {
            Some(conv) => conv.forward(&moments)?.tensor(),
            None => moments.tensor(),
        }
    }
}

/// Encoder blocks from the full size down; all but the last one halve it.
fn down_blocks(config: &VaeConfig, weights: &Weights<'_>) -> Result<Vec<DownBlock>, Error> {
    let count = config.block_out_channels.len();
    let mut inputs = config.block_out_channels[0];
    let mut blocks = Vec::with_capacity(count);
    for (index, outputs) in config.block_out_channels.iter().copied().enumerate() {
        let weights = weights.pp(index);
        let resnet = |layer: usize| {
            let shape =
                ResnetShape { inputs: if layer == 0 { inputs } else { outputs }, outputs, time: None };
            Resnet::load(shape, config.groups(), &weights.pp("resnets").pp(layer))
        };
        let resnets = (0..config.layers_per_block).map(resnet).collect::<Result<_, _>>()?;
        let downsample = (index + 1 < count)
            .then(|| conv2d(outputs, outputs, HALVING, &weights.pp("downsamplers.0.conv")))
            .transpose()?;
        blocks.push(DownBlock { resnets, downsample });
        inputs = outputs;
    }
    Ok(blocks)
}
