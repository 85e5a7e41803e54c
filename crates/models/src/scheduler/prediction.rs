//! From what the model predicts to noiseless latents and noise.

use candle_core::Tensor;

use super::config::PredictionType;
use super::weighted;
use crate::error::Error;

/// Latents are `signal · picture + noise · ε`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    pub(super) signal: f64,
    pub(super) noise: f64,
}

impl Mix {
    /// The mix with `ᾱ` of the picture's variance left.
    pub(super) fn of_alpha(alpha: f64) -> Self {
        Self { signal: alpha.sqrt(), noise: (1.0 - alpha).sqrt() }
    }

    /// The noiseless latents.
    pub(super) fn original(
        self,
        prediction: PredictionType,
        output: &Tensor,
        latents: &Tensor,
    ) -> Result<Tensor, Error> {
        let Self { signal, noise } = self;
        match prediction {
            // In this order: divided at once, two large terms would cancel at the noisy end.
            PredictionType::Epsilon => {
                Ok(weighted(&[(1.0, latents), (-noise, output)])?.affine(1.0 / signal, 0.0)?)
            }
            PredictionType::VPrediction => weighted(&[(signal, latents), (-noise, output)]),
            PredictionType::Sample => Ok(output.clone()),
            PredictionType::FlowPrediction => weighted(&[(1.0, latents), (-noise, output)]),
        }
    }

    /// The noise in the latents.
    pub(super) fn epsilon(
        self,
        prediction: PredictionType,
        output: &Tensor,
        latents: &Tensor,
    ) -> Result<Tensor, Error> {
        let Self { signal, noise } = self;
        match prediction {
            PredictionType::Epsilon => Ok(output.clone()),
            PredictionType::VPrediction => weighted(&[(signal, output), (noise, latents)]),
            PredictionType::Sample => {
                Ok(weighted(&[(1.0, latents), (-signal, output)])?.affine(1.0 / noise, 0.0)?)
            }
            PredictionType::FlowPrediction => weighted(&[(1.0, latents), (1.0 - noise, output)]),
        }
    }
}

/// The noiseless latents in latents that are `picture + sigma · ε`.
pub(super) fn original_at_sigma(
    prediction: PredictionType,
    sigma: f64,
    output: &Tensor,
    latents: &Tensor,
) -> Result<Tensor, Error> {
    let variance = sigma * sigma + 1.0;
    match prediction {
        PredictionType::VPrediction => {
            weighted(&[(-sigma / variance.sqrt(), output), (1.0 / variance, latents)])
        }
        PredictionType::Sample => Ok(output.clone()),
        PredictionType::Epsilon | PredictionType::FlowPrediction => {
            weighted(&[(1.0, latents), (-sigma, output)])
        }
    }
}
