//! The transformer of FLUX.1 (Black Forest Labs 2024); diffusers `FluxTransformer2DModel`.

mod attention;
mod blocks;
mod config;
mod patches;
mod rotary;
mod vector;

use candle_core::{DType, Tensor};

use self::blocks::{JointBlock, SingleBlock};
pub(crate) use self::config::FluxConfig;
use self::rotary::Rotary;
use self::vector::VectorEmbedding;
use crate::error::Error;
use crate::layers::{Linear, linear};
use crate::modulation::{Modulation, normed};
use crate::weights::Weights;

pub(crate) struct Flux {
    x_embedder: Linear,
    context_embedder: Linear,
    vector: VectorEmbedding,
    joint_blocks: Vec<JointBlock>,
    single_blocks: Vec<SingleBlock>,
    modulation_out: Modulation<2>,
    proj_out: Linear,
    heads: usize,
    axes: [usize; 3],
    dtype: DType,
}

/// What the transformer is told besides the latents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FluxInput<'a> {
    /// 0 to 1000.
    pub(crate) timestep: f32,
    /// The guidance scale, which only a model with [`FluxConfig::has_guidance`] reads.
    pub(crate) guidance: f32,
    /// Hidden states of the text in the model's dtype, contiguous `(batch, tokens, text_width)`.
    pub(crate) text: &'a Tensor,
    /// The text as one vector in the model's dtype, `(batch, pooled_width)`.
    pub(crate) pooled: &'a Tensor,
}

impl Flux {
    pub(crate) fn load(config: &FluxConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (width, patch_width) = (config.width(), config.patch_width());
        let (joint, single) = (weights.pp("transformer_blocks"), weights.pp("single_transformer_blocks"));
        Ok(Self {
            x_embedder: linear(patch_width, width, &weights.pp("x_embedder"))?,
            context_embedder: linear(config.text_width, width, &weights.pp("context_embedder"))?,
            vector: VectorEmbedding::load(config, &weights.pp("time_text_embed"))?,
            joint_blocks: (0..config.joint_blocks)
                .map(|index| JointBlock::load(config, &joint.pp(index)))
                .collect::<Result<_, _>>()?,
            single_blocks: (0..config.single_blocks)
                .map(|index| SingleBlock::load(config, &single.pp(index)))
                .collect::<Result<_, _>>()?,
            modulation_out: Modulation::load(width, &weights.pp("norm_out"))?,
            proj_out: linear(width, patch_width, &weights.pp("proj_out"))?,
            heads: config.heads,
            axes: config.axes,
            dtype: weights.dtype(),
        })
    }

    /// The velocity from picture to noise, f32 and of the latents' shape.
    ///
    /// `latents`: f32 `(batch, latent_channels, height, width)`, both sides even.
    pub(crate) fn forward(&self, latents: &Tensor, input: FluxInput<'_>) -> Result<Tensor, Error> {
        let (_, _, height, width) = latents.dims4()?;
        let vector = self.vector.forward(input.timestep, input.guidance, input.pooled)?;
        let mut image = self.x_embedder.forward(&patches::pack(latents)?.to_dtype(self.dtype)?)?;
        let mut text = self.context_embedder.forward(input.text)?;
        let (texts, images) = (text.dim(1)?, image.dim(1)?);
        let rotary = Rotary::new(self.axes, texts, (height / 2, width / 2), latents.device())?;
        for block in &self.joint_blocks {
            (text, image) = block.forward((&text, &image), &vector, self.heads, &rotary)?;
        }
        let mut all = Tensor::cat(&[text, image], 1)?;
        for block in &self.single_blocks {
            all = block.forward(&all, &vector, self.heads, &rotary)?;
        }
        let image = all.narrow(1, texts, images)?.contiguous()?;
        let [scale, shift] = self.modulation_out.forward(&vector)?;
        let image = self.proj_out.forward(&normed(&image, &scale, &shift)?)?;
        Ok(patches::unpack(&image.to_dtype(DType::F32)?, height, width)?)
    }
}

#[cfg(test)]
mod tests;
