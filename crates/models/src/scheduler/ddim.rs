//! DDIM (Song et al. 2020) with eta 0; diffusers `DDIMScheduler`.

use candle_core::Tensor;

use super::config::{PredictionType, SchedulerConfig, refuse};
use super::prediction::Mix;
use super::settings::Settings;
use super::{Step, timesteps, weighted};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct Ddim {
    /// Before and after each step.
    mixes: Vec<(Mix, Mix)>,
    prediction: PredictionType,
    /// The bound of predicted latents, where they are clipped.
    clip: Option<f32>,
}

impl Ddim {
    pub(super) fn new(
        config: &SchedulerConfig,
        settings: &Settings,
        steps: usize,
    ) -> Result<(Vec<f32>, Self), Error> {
        refuse(&[("thresholding", config.thresholding == Some(true))])?;
        let indices = timesteps::indices(settings, steps)?;
        settings.check_signal(indices.iter().copied())?;
        let last = settings.last_alpha(config.set_alpha_to_one, true);
        let ratio = settings.train_timesteps / steps;
        let alphas = &settings.alphas_cumprod;
        let after = |index: usize| index.checked_sub(ratio).map_or(last, |index| alphas[index]);
        let mixes = |index: &usize| (Mix::of_alpha(alphas[*index]), Mix::of_alpha(after(*index)));
        let ddim = Self {
            mixes: indices.iter().map(mixes).collect(),
            prediction: settings.prediction_type,
            clip: clip(config, true),
        };
        Ok((indices.iter().map(|index| *index as f32).collect(), ddim))
    }

    pub(super) fn step(&self, step: &Step<'_>) -> Result<Tensor, Error> {
        let (before, after) = self.mixes[step.index];
        let original = before.original(self.prediction, step.output, step.latents)?;
        let epsilon = before.epsilon(self.prediction, step.output, step.latents)?;
        let original = match self.clip {
            Some(bound) => original.clamp(-bound, bound)?,
            None => original,
        };
        weighted(&[(after.signal, &original), (after.noise, &epsilon)])
    }
}

/// The bound of predicted latents that a file asks for.
pub(super) fn clip(config: &SchedulerConfig, default: bool) -> Option<f32> {
    config.clip_sample.unwrap_or(default).then(|| config.clip_sample_range.unwrap_or(1.0) as f32)
}
