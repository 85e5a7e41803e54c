//! The decoder of the variational autoencoder (Rombach et al. 2022); diffusers `AutoencoderKL`.

use candle_core::{Result as CandleResult, Tensor};
use candle_nn::{GroupNorm, Module};
use serde::Deserialize;

use crate::attention::{Attend, attend};
use crate::error::Error;
use crate::folder::Folder;
use crate::layers::{
    Conv2d, Groups, Kernel, Linear, conv2d, linear, linear_from_conv, planes_from_tokens, tokens_from_planes,
};
use crate::resnet::{Resnet, ResnetShape, Upsample};
use crate::weights::Weights;

const CONFIG: &str = "config.json";

/// Blocks beyond which a latent would be wider than any picture.
const MAX_BLOCKS: usize = 12;

/// Epsilon of every normalisation of the VAE.
const EPS: f64 = 1e-6;

/// `vae/config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VaeConfig {
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    pub(crate) latent_channels: usize,
    norm_num_groups: usize,
    out_channels: usize,
    up_block_types: Vec<String>,
    act_fn: String,
    #[serde(default = "default_scaling_factor")]
    scaling_factor: f64,
    shift_factor: Option<f64>,
    latents_mean: Option<Vec<f64>>,
    latents_std: Option<Vec<f64>>,
    use_post_quant_conv: Option<bool>,
    mid_block_add_attention: Option<bool>,
}

/// Older repositories leave it out.
fn default_scaling_factor() -> f64 {
    0.18215
}

impl VaeConfig {
    pub(crate) fn load(folder: &Folder) -> Result<Self, Error> {
        let config: Self = folder.json(CONFIG)?;
        let blocks = config.block_out_channels.len();
        if !(1..=MAX_BLOCKS).contains(&blocks) || config.up_block_types.len() != blocks {
            return Err(folder.invalid(CONFIG, "block_out_channels and up_block_types do not fit each other"));
        }
        let groups = config.norm_num_groups;
        if groups == 0 || config.block_out_channels.iter().any(|channels| !channels.is_multiple_of(groups)) {
            return Err(folder.invalid(CONFIG, "block_out_channels are not multiples of norm_num_groups"));
        }
        if config.scaling_factor == 0.0 || config.out_channels != 3 {
            return Err(folder.invalid(CONFIG, "scaling_factor is 0 or out_channels is not 3"));
        }
        let unusual = config.up_block_types.iter().any(|kind| kind != "UpDecoderBlock2D")
            || config.act_fn != "silu"
            || config.latents_mean.is_some()
            || config.latents_std.is_some();
        if unusual {
            let message = "the model's VAE has block types, an activation or latent statistics that are not \
                           implemented";
            return Err(Error::Unsupported(message.to_owned()));
        }
        Ok(config)
    }

    /// How many pixels a latent is wide and high.
    pub(crate) fn scale(&self) -> u32 {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Whether a tensor of this name belongs to the decoder.
    pub(crate) fn is_decoder(name: &str) -> bool {
        name.starts_with("decoder.") || name.starts_with("post_quant_conv.")
    }
}

pub(crate) struct VaeDecoder {
    scaling_factor: f64,
    shift_factor: f64,
    post_quant_conv: Option<Conv2d>,
    conv_in: Conv2d,
    mid: (Resnet, Option<Attention>, Resnet),
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

struct UpBlock {
    resnets: Vec<Resnet>,
    upsample: Option<Upsample>,
}

impl VaeDecoder {
    pub(crate) fn load(config: &VaeConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let groups = Groups { count: config.norm_num_groups, eps: EPS };
        let decoder = weights.pp("decoder");
        let latents = config.latent_channels;
        let (first, last) = (config.block_out_channels[0], config.block_out_channels.last().copied());
        let deepest = last.unwrap_or(first);
        let post_quant_conv = config
            .use_post_quant_conv
            .unwrap_or(true)
            .then(|| conv2d(latents, latents, Kernel::POINT, &weights.pp("post_quant_conv")))
            .transpose()?;
        let mid = decoder.pp("mid_block");
        let mid_resnet = |index: usize| {
            let shape = ResnetShape { inputs: deepest, outputs: deepest, time: None };
            Resnet::load(shape, groups, &mid.pp("resnets").pp(index))
        };
        let attention = config
            .mid_block_add_attention
            .unwrap_or(true)
            .then(|| Attention::load(deepest, groups, &mid.pp("attentions.0")))
            .transpose()?;
        Ok(Self {
            scaling_factor: config.scaling_factor,
            shift_factor: config.shift_factor.unwrap_or(0.0),
            post_quant_conv,
            conv_in: conv2d(latents, deepest, Kernel::SAME, &decoder.pp("conv_in"))?,
            mid: (mid_resnet(0)?, attention, mid_resnet(1)?),
            up_blocks: up_blocks(config, groups, &decoder.pp("up_blocks"))?,
            conv_norm_out: groups.norm(first, &decoder.pp("conv_norm_out"))?,
            conv_out: conv2d(first, config.out_channels, Kernel::SAME, &decoder.pp("conv_out"))?,
        })
    }

    /// Latents `(batch, latent_channels, height, width)` to pictures `(batch, 3, height · scale, width · scale)`
    /// in about [-1, 1].
    pub(crate) fn forward(&self, latents: &Tensor) -> CandleResult<Tensor> {
        let mut x = latents.affine(1.0 / self.scaling_factor, self.shift_factor)?;
        if let Some(conv) = &self.post_quant_conv {
            x = conv.forward(&x)?;
        }
        x = self.mid.0.forward(&self.conv_in.forward(&x)?, None)?;
        if let Some(attention) = &self.mid.1 {
            x = attention.forward(&x)?;
        }
        x = self.mid.2.forward(&x, None)?;
        for block in &self.up_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(upsample) = &block.upsample {
                let (_, _, height, width) = x.dims4()?;
                x = upsample.forward(&x, 2 * height, 2 * width)?;
            }
        }
        self.conv_out.forward(&self.conv_norm_out.forward(&x)?.silu()?)
    }
}

/// Decoder blocks from the deepest; all but the last one double the size.
fn up_blocks(config: &VaeConfig, groups: Groups, weights: &Weights<'_>) -> Result<Vec<UpBlock>, Error> {
    let count = config.block_out_channels.len();
    let mut inputs = config.block_out_channels[count - 1];
    let mut blocks = Vec::with_capacity(count);
    for (index, outputs) in config.block_out_channels.iter().rev().copied().enumerate() {
        let weights = weights.pp(index);
        let resnet = |layer: usize| {
            let shape =
                ResnetShape { inputs: if layer == 0 { inputs } else { outputs }, outputs, time: None };
            Resnet::load(shape, groups, &weights.pp("resnets").pp(layer))
        };
        let resnets = (0..=config.layers_per_block).map(resnet).collect::<Result<_, _>>()?;
        let upsample =
            (index + 1 < count).then(|| Upsample::load(outputs, &weights.pp("upsamplers.0"))).transpose()?;
        blocks.push(UpBlock { resnets, upsample });
        inputs = outputs;
    }
    Ok(blocks)
}

/// Self-attention with one head over all positions.
struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl Attention {
    /// Weights by their names of today, or by those of repositories from before diffusers 0.15, which are also
    /// stored as 1 × 1 convolutions where they were converted from the original checkpoints.
    fn load(channels: usize, groups: Groups, weights: &Weights<'_>) -> Result<Self, Error> {
        let names = if weights.has("query.weight") {
            ["query", "key", "value", "proj_attn"]
        } else {
            ["to_q", "to_k", "to_v", "to_out.0"]
        };
        let [to_q, to_k, to_v, to_out] = names.map(|name| {
            let weights = weights.pp(name);
            match weights.rank("weight") {
                Some(4) => linear_from_conv(channels, channels, &weights),
                _ => linear(channels, channels, &weights),
            }
        });
        let group_norm = groups.norm(channels, &weights.pp("group_norm"))?;
        Ok(Self { group_norm, to_q: to_q?, to_k: to_k?, to_v: to_v?, to_out: to_out? })
    }

    /// `(batch, channels, height, width)` to the same.
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let tokens = tokens_from_planes(&self.group_norm.forward(x)?)?;
        let (q, k) = (self.to_q.forward(&tokens)?, self.to_k.forward(&tokens)?);
        let attended = attend(&q, &k, &self.to_v.forward(&tokens)?, Attend::default())?;
        x + planes_from_tokens(&self.to_out.forward(&attended)?, height, width)?
    }
}
