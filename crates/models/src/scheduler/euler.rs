//! Euler (Karras et al. 2022, algorithm 2 without churn); diffusers `EulerDiscreteScheduler`.

use candle_core::Tensor;

use super::betas::alphas_cumprod;
use super::{PredictionType, Settings, TimestepSpacing, combine, timesteps};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct Euler {
    /// Noise level before each step, and 0 after the last one.
    sigmas: Vec<f64>,
    prediction_type: PredictionType,
    init_noise_sigma: f64,
}

impl Euler {
    pub(super) fn new(settings: &Settings, steps: usize) -> Result<(Vec<f32>, Self), Error> {
        let training_sigmas = alphas_cumprod(settings)
            .into_iter()
            .map(|alpha| f64::from(((1.0 - alpha) / alpha).sqrt() as f32))
            .collect::<Vec<_>>();
        let timesteps = timesteps::spaced(settings, steps).into_iter().map(|t| t as f32).collect::<Vec<_>>();
        let at = |t: &f32| f64::from(interpolate(&training_sigmas, f64::from(*t)) as f32);
        let mut sigmas = timesteps.iter().map(at).collect::<Vec<_>>();
        let largest = sigmas.iter().copied().fold(0.0, f64::max);
        let init_noise_sigma = match settings.spacing {
            TimestepSpacing::Linspace | TimestepSpacing::Trailing => largest,
            TimestepSpacing::Leading => (largest * largest + 1.0).sqrt(),
        };
        sigmas.push(0.0);
        Ok((timesteps, Self { sigmas, prediction_type: settings.prediction_type, init_noise_sigma }))
    }

    pub(super) fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    pub(super) fn scale_model_input(&self, index: usize, latents: &Tensor) -> Result<Tensor, Error> {
        let sigma = self.sigmas[index];
        Ok(latents.affine(1.0 / (sigma * sigma + 1.0).sqrt(), 0.0)?)
    }

    pub(super) fn step(&self, index: usize, output: &Tensor, latents: &Tensor) -> Result<Tensor, Error> {
        let (sigma, next) = (self.sigmas[index], self.sigmas[index + 1]);
        let variance = sigma * sigma + 1.0;
        let original = match self.prediction_type {
            PredictionType::Epsilon => combine(1.0, latents, -sigma, output)?,
            PredictionType::Sample => output.clone(),
            PredictionType::VPrediction => {
                combine(1.0 / variance, latents, -sigma / variance.sqrt(), output)?
            }
        };
        // latents + (latents - original) / sigma · (next - sigma)
        combine(next / sigma, latents, 1.0 - next / sigma, &original)
    }
}

/// As `numpy.interp` over `0, 1, 2, …`: linear between the values, the last value beyond them.
fn interpolate(values: &[f64], at: f64) -> f64 {
    let below = (at.max(0.0) as usize).min(values.len() - 1);
    let above = (below + 1).min(values.len() - 1);
    (values[above] - values[below]).mul_add(at - below as f64, values[below])
}
