//! The timestep as a vector.

use candle_core::{DType, Device, Result as CandleResult, Tensor};

use super::config::{AddedConfig, UnetConfig};
use crate::error::Error;
use crate::layers::{Linear, linear};
use crate::weights::Weights;

/// The longest wavelength, in timesteps over 2 π.
const MAX_PERIOD: f32 = 10_000.0;

/// How a timestep becomes sines and cosines; diffusers `get_timestep_embedding`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sinusoid {
    /// Width of the result, even.
    pub(super) width: usize,
    /// Whether cosines come first.
    pub(super) flip_sin_to_cos: bool,
    pub(super) freq_shift: f32,
}

impl Sinusoid {
    /// `width` values, in f32 whatever the model computes in: in half precision neighbouring timesteps of the
    /// end of the schedule become equal.
    fn embed(self, timestep: f32) -> Vec<f32> {
        let half = self.width / 2;
        let angle = |index: usize| {
            let exponent = -MAX_PERIOD.ln() * index as f32 / (half as f32 - self.freq_shift);
            timestep * libm::expf(exponent)
        };
        let sines = (0..half).map(|index| libm::sinf(angle(index)));
        let cosines = (0..half).map(|index| libm::cosf(angle(index)));
        if self.flip_sin_to_cos { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() }
    }
}

/// How many numbers of size and crop a denoiser is told: height and width of the original, top and left of the
/// crop, height and width of the picture.
pub(super) const SIZE_NUMBERS: usize = 6;

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

/// Two linear layers around a SiLU; diffusers `TimestepEmbedding`.
struct Mlp {
    linear_1: Linear,
    linear_2: Linear,
}

struct AddedEmbedding {
    sinusoid: Sinusoid,
    mlp: Mlp,
}

impl Mlp {
    fn load(inputs: usize, outputs: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        Ok(Self {
            linear_1: linear(inputs, outputs, &weights.pp("linear_1"))?,
            linear_2: linear(outputs, outputs, &weights.pp("linear_2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.linear_2.forward(&self.linear_1.forward(x)?.silu()?)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedding_holds_cosines_then_sines_of_falling_frequencies() {
        let sinusoid = Sinusoid { width: 4, flip_sin_to_cos: true, freq_shift: 0.0 };
        let expected = [999f64.cos(), 9.99f64.cos(), 999f64.sin(), 9.99f64.sin()];
        for (found, expected) in sinusoid.embed(999.0).into_iter().zip(expected) {
            assert!((f64::from(found) - expected).abs() < 1e-5, "{found} instead of {expected}");
        }
        let sinusoid = Sinusoid { width: 4, flip_sin_to_cos: false, freq_shift: 1.0 };
        let expected = [999f64.sin(), 0.0999f64.sin(), 999f64.cos(), 0.0999f64.cos()];
        for (found, expected) in sinusoid.embed(999.0).into_iter().zip(expected) {
            assert!((f64::from(found) - expected).abs() < 1e-5, "{found} instead of {expected}");
        }
    }
}
