//! DDIM (Song et al. 2020) with eta 0; diffusers `DDIMScheduler`.

use candle_core::Tensor;

use super::betas::alphas_cumprod;
use super::{PredictionType, Settings, combine, timesteps};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct Ddim {
    /// `ᾱ` before and after each step.
    alphas: Vec<(f64, f64)>,
    prediction_type: PredictionType,
    clip: Option<f64>,
}

impl Ddim {
    pub(super) fn new(settings: &Settings, steps: usize) -> Result<(Vec<f32>, Self), Error> {
        let indices = timesteps::indices(settings, steps)?;
        let alphas_cumprod = alphas_cumprod(settings);
        let last = if settings.set_alpha_to_one { 1.0 } else { alphas_cumprod[0] };
        let ratio = settings.train_timesteps / steps;
        let after = |index: usize| index.checked_sub(ratio).map_or(last, |index| alphas_cumprod[index]);
        let alphas = indices.iter().map(|index| (alphas_cumprod[*index], after(*index))).collect();
        let timesteps = indices.iter().map(|index| *index as f32).collect();
        Ok((timesteps, Self { alphas, prediction_type: settings.prediction_type, clip: settings.clip }))
    }

    pub(super) fn step(&self, index: usize, output: &Tensor, latents: &Tensor) -> Result<Tensor, Error> {
        let (alpha, alpha_after) = self.alphas[index];
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let (original, epsilon) = match self.prediction_type {
            PredictionType::Epsilon => {
                (combine(1.0 / signal, latents, -noise / signal, output)?, output.clone())
            }
            PredictionType::Sample => {
                (output.clone(), combine(1.0 / noise, latents, -signal / noise, output)?)
            }
            PredictionType::VPrediction => {
                (combine(signal, latents, -noise, output)?, combine(signal, output, noise, latents)?)
            }
        };
        let original = match self.clip {
            Some(bound) => original.clamp(-bound as f32, bound as f32)?,
            None => original,
        };
        combine(alpha_after.sqrt(), &original, (1.0 - alpha_after).sqrt(), &epsilon)
    }
}
