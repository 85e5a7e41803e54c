//! The timestep as a vector.

use candle_core::{DType, Device, Result as CandleResult, Tensor};

use super::config::{AddedConfig, UnetConfig};
use crate::error::Error;
use crate::timestep::{Mlp, Sinusoid};
use crate::weights::Weights;

/// How many numbers of size and crop a denoiser is told: height and width of the original, top and left of the
/// crop, height and width of the picture.
pub(crate) const SIZE_NUMBERS: usize = 6;

/// The timestep, and what else there is to know of the whole picture, as one vector.
pub(super) struct TimeEmbedding {
    sinusoid: Sinusoid,
    timestep: Mlp,
    added: Option<AddedEmbedding>,
}

/// What a denoiser with [`UnetConfig::pooled_width`](super::UnetConfig::pooled_width) is told besides the
/// timestep.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    /// The texts as one vector each, `(batch, pooled_width)`.
    pub(crate) pooled: Tensor,
    /// In pixels: height and width of the original, top and left of the crop, height and width of the picture.
    pub(crate) sizes: [f32; SIZE_NUMBERS],
}

struct AddedEmbedding {
    sinusoid: Sinusoid,
    mlp: Mlp,
}

impl TimeEmbedding {
    /// `width`: of the result. `weights`: of the whole denoiser.
    pub(super) fn load(config: &UnetConfig, width: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        let added = |added: AddedConfig| {
            let inputs = added.pooled + SIZE_NUMBERS * added.sinusoid.width;
            let mlp = Mlp::load(inputs, width, &weights.pp("add_embedding"))?;
            Ok::<_, Error>(AddedEmbedding { sinusoid: added.sinusoid, mlp })
        };
        Ok(Self {
            sinusoid: config.sinusoid,
            timestep: Mlp::load(config.sinusoid.width, width, &weights.pp("time_embedding"))?,
            added: config.added.map(added).transpose()?,
        })
    }

    /// `(1 or batch, width)` in `dtype`, already through the activation that every block applies to it.
    pub(super) fn forward(
        &self,
        timestep: f32,
        added: Option<&Added>,
        (dtype, device): (DType, &Device),
    ) -> CandleResult<Tensor> {
        let values = self.sinusoid.embed(timestep);
        let x = Tensor::from_vec(values, (1, self.sinusoid.width), device)?.to_dtype(dtype)?;
        let x = self.timestep.forward(&x)?;
        match (&self.added, added) {
            (Some(embedding), Some(added)) => x.broadcast_add(&embedding.forward(added)?)?.silu(),
            (None, None) => x.silu(),
            (Some(_), None) => candle_core::bail!("the denoiser is told nothing of text and sizes"),
            (None, Some(_)) => candle_core::bail!("the denoiser cannot be told of text and sizes"),
        }
    }
}

impl AddedEmbedding {
    /// `(batch, width)`.
    fn forward(&self, added: &Added) -> CandleResult<Tensor> {
        let values = added.sizes.iter().flat_map(|size| self.sinusoid.embed(*size)).collect::<Vec<_>>();
        let sizes = Tensor::from_vec(values, (1, SIZE_NUMBERS * self.sinusoid.width), added.pooled.device())?;
        let sizes = sizes.to_dtype(added.pooled.dtype())?.repeat((added.pooled.dim(0)?, 1))?;
        self.mlp.forward(&Tensor::cat(&[&added.pooled, &sizes], 1)?)
    }
}
