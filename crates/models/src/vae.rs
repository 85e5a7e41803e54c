//! The variational autoencoder between pictures and latents (Rombach et al. 2022); diffusers `AutoencoderKL`.

mod attention;
mod decoder;
mod encoder;
mod tiles;

use serde::Deserialize;

pub(crate) use self::decoder::VaeDecoder;
pub use self::encoder::VaeEncoder;
use crate::error::Error;
use crate::folder::Folder;
use crate::planes::Groups;

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
    in_channels: usize,
    out_channels: usize,
    #[serde(default = "default_sample_size")]
    sample_size: usize,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    act_fn: String,
    #[serde(default = "default_scaling_factor")]
    scaling_factor: f64,
    shift_factor: Option<f64>,
    latents_mean: Option<Vec<f64>>,
    latents_std: Option<Vec<f64>>,
    use_quant_conv: Option<bool>,
    use_post_quant_conv: Option<bool>,
    mid_block_add_attention: Option<bool>,
}

/// Older repositories leave it out.
fn default_scaling_factor() -> f64 {
    0.18215
}

/// The side of the pictures it was trained on, where nobody wrote it down.
fn default_sample_size() -> usize {
    512
}

impl VaeConfig {
    pub(crate) fn load(folder: &Folder) -> Result<Self, Error> {
        let config: Self = folder.json(CONFIG)?;
        let blocks = config.block_out_channels.len();
        let types = [&config.down_block_types, &config.up_block_types];
        if !(1..=MAX_BLOCKS).contains(&blocks) || types.iter().any(|types| types.len() != blocks) {
            return Err(
                folder.invalid(CONFIG, "block_out_channels and the block types do not fit each other")
            );
        }
        let groups = config.norm_num_groups;
        if groups == 0 || config.block_out_channels.iter().any(|channels| !channels.is_multiple_of(groups)) {
            return Err(folder.invalid(CONFIG, "block_out_channels are not multiples of norm_num_groups"));
        }
        if config.scaling_factor == 0.0 || [config.in_channels, config.out_channels] != [3, 3] {
            return Err(folder.invalid(CONFIG, "scaling_factor is 0, or a picture has not 3 channels"));
        }
        let unusual = config.up_block_types.iter().any(|kind| kind != "UpDecoderBlock2D")
            || config.down_block_types.iter().any(|kind| kind != "DownEncoderBlock2D")
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

    fn groups(&self) -> Groups {
        Groups { count: self.norm_num_groups, eps: EPS }
    }

    /// Channels at the full size, and at the size of the latents.
    fn ends(&self) -> (usize, usize) {
        let channels = &self.block_out_channels;
        (channels[0], channels[channels.len() - 1])
    }

    /// Whether a tensor of this name belongs to the decoder.
    pub(crate) fn is_decoder(name: &str) -> bool {
        name.starts_with("decoder.") || name.starts_with("post_quant_conv.")
    }
}
