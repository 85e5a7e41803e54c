//! What is known of the whole picture as one vector; diffusers `CombinedTimestepGuidanceTextProjEmbeddings`.

use candle_core::{Result as CandleResult, Tensor};

use super::config::FluxConfig;
use crate::error::Error;
use crate::timestep::{Mlp, Sinusoid};
use crate::weights::Weights;

const SINUSOID: Sinusoid = Sinusoid { width: 256, flip_sin_to_cos: true, freq_shift: 0.0 };

/// A guidance scale is embedded as a timestep of this many times its value.
const GUIDANCE_FACTOR: f32 = 1000.0;

pub(super) struct VectorEmbedding {
    timestep: Mlp,
    guidance: Option<Mlp>,
    text: Mlp,
}

impl VectorEmbedding {
    pub(super) fn load(config: &FluxConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let width = config.width();
        let number = |name: &str| Mlp::load(SINUSOID.width, width, &weights.pp(name));
        Ok(Self {
            timestep: number("timestep_embedder")?,
            guidance: config.has_guidance.then(|| number("guidance_embedder")).transpose()?,
            text: Mlp::load(config.pooled_width, width, &weights.pp("text_embedder"))?,
        })
    }

    /// `(batch, width)` in the dtype of `pooled`, `(batch, pooled_width)`; already through the activation that
    /// every block applies to it.
    pub(super) fn forward(&self, timestep: f32, guidance: f32, pooled: &Tensor) -> CandleResult<Tensor> {
        let number = |mlp: &Mlp, number: f32| {
            let values = Tensor::from_vec(SINUSOID.embed(number), (1, SINUSOID.width), pooled.device())?;
            mlp.forward(&values.to_dtype(pooled.dtype())?)
        };
        let mut vector = self.text.forward(pooled)?.broadcast_add(&number(&self.timestep, timestep)?)?;
        if let Some(mlp) = &self.guidance {
            vector = vector.broadcast_add(&number(mlp, guidance * GUIDANCE_FACTOR)?)?;
        }
        vector.silu()
    }
}
