//! A number, such as the timestep, as a vector that layers can work with.

use candle_core::{Result as CandleResult, Tensor};

use crate::error::Error;
use crate::layers::{Linear, linear};
use crate::weights::Weights;

/// The longest wavelength, in timesteps over 2 π.
const MAX_PERIOD: f32 = 10_000.0;

/// How a timestep becomes sines and cosines; diffusers `get_timestep_embedding`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sinusoid {
    /// Width of the result, even.
    pub(crate) width: usize,
    /// Whether cosines come first.
    pub(crate) flip_sin_to_cos: bool,
    pub(crate) freq_shift: f32,
}

impl Sinusoid {
    /// `width` values, in f32 whatever the model computes in: in half precision neighbouring timesteps of the
    /// end of the schedule become equal.
    pub(crate) fn embed(self, timestep: f32) -> Vec<f32> {
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

/// Two linear layers around a SiLU; diffusers `TimestepEmbedding`.
pub(crate) struct Mlp {
    linear_1: Linear,
    linear_2: Linear,
}

impl Mlp {
    pub(crate) fn load(inputs: usize, outputs: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        Ok(Self {
            linear_1: linear(inputs, outputs, &weights.pp("linear_1"))?,
            linear_2: linear(outputs, outputs, &weights.pp("linear_2"))?,
        })
    }

    /// `(…, inputs)` to `(…, outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.linear_2.forward(&self.linear_1.forward(x)?.silu()?)
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
