//! Euler (Karras et al. 2022, algorithm 2 without churn); diffusers `EulerDiscreteScheduler`.

use candle_core::Tensor;

use super::config::{Interpolation, PredictionType, SchedulerConfig, TimestepSpacing, TimestepType};
use super::prediction::original_at_sigma;
use super::settings::Settings;
use super::sigmas::{self, Spread};
use super::{Algorithm, Step, divided, timesteps, weighted};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct Euler {
    /// Noise level before each step and after the last one; f32 values.
    sigmas: Vec<f64>,
    prediction: PredictionType,
    init_noise_sigma: f64,
}

impl Euler {
    pub(super) fn new(
        config: &SchedulerConfig,
        settings: &Settings,
        steps: usize,
    ) -> Result<(Vec<f32>, Self), Error> {
        let training = sigmas::training(settings);
        let mut timesteps = spaced(settings, steps);
        let mut levels = match config.interpolation_type.unwrap_or_default() {
            Interpolation::Linear => {
                timesteps.iter().map(|t| sigmas::interpolate(&training, f64::from(*t))).collect()
            }
            // One level more than timesteps: the walk ends at the least one, not at 0.
            Interpolation::LogLinear => sigmas::log_linear(&training, steps + 1),
        };
        if let Some(spread) = Spread::of(config, Algorithm::Euler)? {
            let logarithms = sigmas::logarithms(&training);
            levels = spread.levels(sigmas::ends(config, Algorithm::Euler, &levels), steps);
            timesteps = levels.iter().map(|sigma| sigmas::timestep(*sigma, &logarithms) as f32).collect();
        }
        levels.push(sigmas::last(config, &training));
        let sigmas = levels.into_iter().map(|sigma| f64::from(sigma as f32)).collect::<Vec<_>>();
        let velocity = settings.prediction_type == PredictionType::VPrediction;
        if velocity && config.timestep_type.unwrap_or_default() == TimestepType::Continuous {
            let timestep = |sigma: &f64| 0.25 * libm::log(*sigma) as f32;
            timesteps = sigmas[..sigmas.len() - 1].iter().map(timestep).collect();
        }
        let init_noise_sigma = init_noise_sigma(settings, &sigmas);
        Ok((timesteps, Self { sigmas, prediction: settings.prediction_type, init_noise_sigma }))
    }

    pub(super) fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    pub(super) fn scale_model_input(&self, index: usize, latents: &Tensor) -> Result<Tensor, Error> {
        scaled(self.sigmas[index], latents)
    }

    pub(super) fn step(&self, step: &Step<'_>) -> Result<Tensor, Error> {
        let (sigma, next) = (self.sigmas[step.index], self.sigmas[step.index + 1]);
        let original = original_at_sigma(self.prediction, sigma, step.output, step.latents)?;
        moved(&original, step.latents, sigma, next)
    }
}

/// The timesteps of Euler and its ancestral form, which need not be whole.
pub(super) fn spaced(settings: &Settings, steps: usize) -> Vec<f32> {
    timesteps::spaced(settings, steps).into_iter().map(|t| t as f32).collect()
}

pub(super) fn init_noise_sigma(settings: &Settings, sigmas: &[f64]) -> f64 {
    let largest = sigmas.iter().copied().fold(0.0, f64::max);
    match settings.spacing {
        TimestepSpacing::Linspace | TimestepSpacing::Trailing => largest,
        TimestepSpacing::Leading => (largest * largest + 1.0).sqrt(),
    }
}

/// Latents of variance `sigma² + 1` scaled to a variance of 1.
pub(super) fn scaled(sigma: f64, latents: &Tensor) -> Result<Tensor, Error> {
    divided(latents, (sigma * sigma + 1.0).sqrt())
}

/// The latents moved from the level `sigma` to the level `next` along the line through `original`. In the
/// reference's order: from the levels of zero terminal SNR, in the thousands, the latents are what is left of
/// a difference, and its rounding shows.
pub(super) fn moved(original: &Tensor, latents: &Tensor, sigma: f64, next: f64) -> Result<Tensor, Error> {
    let slope = divided(&(latents - original)?, sigma)?;
    weighted(&[(1.0, latents), (next - sigma, &slope)])
}
