//! The denoising transformer over picture and text at once (Esser et al. 2024); diffusers
//! `SD3Transformer2DModel`.

mod attention;
mod block;
mod config;
mod patches;

use candle_core::{DType, Device, Tensor};

use self::block::JointBlock;
pub(crate) use self::config::Sd3Config;
use self::patches::PatchEmbed;
use crate::error::Error;
use crate::layers::{Linear, linear};
use crate::modulation::{Modulation, normed};
use crate::timestep::{Mlp, Sinusoid};
use crate::weights::Weights;

/// How the timestep becomes a vector.
const SINUSOID: Sinusoid = Sinusoid { width: 256, flip_sin_to_cos: true, freq_shift: 0.0 };

/// The timestep and the text as a whole, as one vector.
struct Whole {
    timestep: Mlp,
    text: Mlp,
}

pub(crate) struct Sd3 {
    patches: PatchEmbed,
    whole: Whole,
    context_embedder: Linear,
    blocks: Vec<JointBlock>,
    norm_out: Modulation<2>,
    proj_out: Linear,
    dtype: DType,
    device: Device,
}

impl Sd3 {
    pub(crate) fn load(config: &Sd3Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let width = config.width();
        let embed = weights.pp("time_text_embed");
        let blocks = (0..config.num_layers)
            .map(|index| JointBlock::load(config, index, &weights.pp("transformer_blocks").pp(index)))
            .collect::<Result<_, _>>()?;
        let outputs = config.patch_size * config.patch_size * config.out_channels;
        Ok(Self {
            patches: PatchEmbed::load(config, &weights.pp("pos_embed"))?,
            whole: Whole {
                timestep: Mlp::load(SINUSOID.width, width, &embed.pp("timestep_embedder"))?,
                text: Mlp::load(config.pooled_projection_dim, width, &embed.pp("text_embedder"))?,
            },
            context_embedder: linear(config.joint_attention_dim, width, &weights.pp("context_embedder"))?,
            blocks,
            norm_out: Modulation::load(width, &weights.pp("norm_out"))?,
            proj_out: linear(width, outputs, &weights.pp("proj_out"))?,
            dtype: weights.dtype(),
            device: weights.device().clone(),
        })
    }

    /// The model's prediction at one timestep, f32 and of the latents' shape.
    ///
    /// `latents`: f32 `(batch, channels, height, width)`, sides multiples of the patch size and at most
    /// [`Sd3Config::max_side`]. `text`: hidden states `(batch, tokens, joint_attention_dim)` and `pooled`:
    /// `(batch, pooled_projection_dim)` in the model's dtype.
    pub(crate) fn forward(
        &self,
        latents: &Tensor,
        timestep: f32,
        text: &Tensor,
        pooled: &Tensor,
    ) -> Result<Tensor, Error> {
        let (_, _, height, width) = latents.dims4()?;
        let sinusoid = Tensor::from_vec(SINUSOID.embed(timestep), (1, SINUSOID.width), &self.device)?;
        let whole = self.whole.timestep.forward(&sinusoid.to_dtype(self.dtype)?)?;
        // Every block begins with the activation of this.
        let whole = whole.broadcast_add(&self.whole.text.forward(pooled)?)?.silu()?;
        let mut x = self.patches.forward(&latents.to_dtype(self.dtype)?)?;
        let mut context = Some(self.context_embedder.forward(text)?);
        for block in &self.blocks {
            let Some(text) = &context else { break };
            (x, context) = block.forward(&x, text, &whole)?;
        }
        let [scale, shift] = self.norm_out.forward(&whole)?;
        let x = self.proj_out.forward(&normed(&x, &scale, &shift)?)?;
        Ok(self.patches.unpatchify(&x, height, width)?.to_dtype(DType::F32)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::attention::largest_difference;
    use crate::folder::{Folder, ModelFolder};
    use crate::weights::Checkpoint;

    #[test]
    fn half_precision_gives_the_reference_but_for_rounding() {
        for name in ["sd3", "sd35"] {
            let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
            let recorded = model.join("reference.safetensors");
            let recorded = candle_core::safetensors::load(recorded, &Device::Cpu).unwrap();
            let component = model.join("transformer");
            let weights = component.join("diffusion_pytorch_model.safetensors");
            let checkpoint = Checkpoint::open(vec![weights]).unwrap();
            let config = Sd3Config::load(&Folder::new(&ModelFolder::from(component))).unwrap();
            let latents = Tensor::cat(&[&recorded["noise"], &recorded["noise"]], 0).unwrap();
            // The CPU has no convolutions in bf16.
            for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F16, 0.02)] {
                let sd3 = Sd3::load(&config, &checkpoint.root(&Device::Cpu, dtype)).unwrap();
                let states = recorded["prompts.states"].to_dtype(dtype).unwrap();
                let pooled = recorded["prompts.pooled"].to_dtype(dtype).unwrap();
                let found = sd3.forward(&latents, 965.5, &states, &pooled).unwrap();
                let difference = largest_difference(&found, &recorded["transformer.965.5"]);
                assert!(difference < tolerance, "{name}, {dtype:?}: {difference}");
            }
        }
    }
}
