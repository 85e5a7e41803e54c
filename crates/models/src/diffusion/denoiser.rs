//! The denoisers of all families behind one face.

use candle_core::Tensor;

use super::Conditioning;
use super::family::Family;
use crate::error::Error;
use crate::flux::{Flux, FluxConfig, FluxInput};
use crate::folder::Folder;
use crate::sd3::{Sd3, Sd3Config};
use crate::unet::{Added, DeepFeatures, Unet, UnetConfig, UnetInput};
use crate::weights::Weights;

/// Predicts what is to be taken from latents at a timestep.
pub(super) enum Denoiser {
    Unet(Box<Unet>),
    Sd3(Box<Sd3>),
    Flux(Box<Flux>),
}

/// What a denoiser looks like.
#[derive(Debug, Clone)]
pub(super) enum DenoiserConfig {
    Unet(UnetConfig),
    Sd3(Sd3Config),
    Flux(FluxConfig),
}

/// What has to fit the components around a denoiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fitting {
    /// Of the latents it takes.
    pub(super) in_channels: usize,
    /// Of the latents it gives.
    pub(super) out_channels: usize,
    /// Width of the text's hidden states.
    pub(super) text_width: usize,
    /// The configuration's name of that.
    pub(super) text_field: &'static str,
    /// Width of the text as one vector, if it is told one.
    pub(super) pooled_width: Option<usize>,
    /// Sides of latents are multiples of this.
    pub(super) patch_size: usize,
    /// Most latents of a side, where there is a bound.
    pub(super) max_side: Option<usize>,
}

impl DenoiserConfig {
    /// `folder`: the component's.
    pub(super) fn load(family: Family, folder: &Folder) -> Result<Self, Error> {
        match family {
            Family::StableDiffusion | Family::StableDiffusionXl => UnetConfig::load(folder).map(Self::Unet),
            Family::StableDiffusion3 => Sd3Config::load(folder).map(Self::Sd3),
            Family::Flux => FluxConfig::load(folder).map(Self::Flux),
        }
    }

    pub(super) fn fitting(&self) -> Fitting {
        match self {
            Self::Unet(config) => Fitting {
                in_channels: config.in_channels,
                out_channels: config.out_channels,
                text_width: config.cross_attention_dim,
                text_field: "cross_attention_dim",
                pooled_width: config.pooled_width(),
                patch_size: 1,
                max_side: None,
            },
            Self::Sd3(config) => Fitting {
                in_channels: config.in_channels,
                out_channels: config.out_channels,
                text_width: config.joint_attention_dim,
                text_field: "joint_attention_dim",
                pooled_width: Some(config.pooled_projection_dim),
                patch_size: config.patch_size,
                max_side: Some(config.max_side()),
            },
            Self::Flux(config) => Fitting {
                in_channels: config.latent_channels,
                out_channels: config.latent_channels,
                text_width: config.text_width,
                text_field: "joint_attention_dim",
                pooled_width: Some(config.pooled_width),
                patch_size: 2,
                max_side: None,
            },
        }
    }
}

impl Denoiser {
    pub(super) fn load(config: &DenoiserConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        match config {
            DenoiserConfig::Unet(config) => Unet::load(config, weights).map(Box::new).map(Self::Unet),
            DenoiserConfig::Sd3(config) => Sd3::load(config, weights).map(Box::new).map(Self::Sd3),
            DenoiserConfig::Flux(config) => Flux::load(config, weights).map(Box::new).map(Self::Flux),
        }
    }

    /// The prediction at one timestep, f32 and of the latents' shape.
    ///
    /// `latents`: f32 `(batch, channels, height, width)`, as many as there are texts in `conditioning`. `deep`: of
    /// the steps before, for a U-Net.
    pub(super) fn forward(
        &self,
        latents: &Tensor,
        timestep: f32,
        conditioning: &Conditioning,
        deep: &mut DeepFeatures,
    ) -> Result<Tensor, Error> {
        let Conditioning { states, pooled, sizes, guidance_scale, .. } = conditioning;
        match (self, pooled) {
            (Self::Unet(unet), pooled) => {
                let added = pooled.clone().map(|pooled| Added { pooled, sizes: *sizes });
                let input = UnetInput { timestep, text: states, added: added.as_ref() };
                unet.forward(latents, &input, deep)
            }
            (Self::Sd3(sd3), Some(pooled)) => sd3.forward(latents, timestep, states, pooled),
            (Self::Flux(flux), Some(pooled)) => {
                let guidance = *guidance_scale as f32;
                flux.forward(latents, FluxInput { timestep, guidance, text: states, pooled })
            }
            (Self::Sd3(_) | Self::Flux(_), None) => {
                Err(Error::Device("the denoiser is told no text as a whole".into()))
            }
        }
    }
}
