//! Latent consistency (Luo et al. 2023); diffusers `LCMScheduler`.

use candle_core::Tensor;

use super::config::{PredictionType, SchedulerConfig, refuse};
use super::ddim::clip;
use super::prediction::Mix;
use super::settings::Settings;
use super::{Step, weighted};
use crate::error::Error;

/// Steps of the distillation, unless the file says otherwise.
const ORIGINAL_STEPS: usize = 50;

/// Scale of timesteps in the boundary condition, unless the file says otherwise.
const TIMESTEP_SCALING: f64 = 10.0;

/// Standard deviation of the data in the boundary condition.
const SIGMA_DATA: f64 = 0.5;

#[derive(Debug, Clone)]
pub(super) struct Lcm {
    calls: Vec<Call>,
    prediction: PredictionType,
    clip: Option<f32>,
}

#[derive(Debug, Clone)]
struct Call {
    mix: Mix,
    /// Weights of the latents and of the prediction: the boundary condition.
    skip: f64,
    out: f64,
    /// What the latents are mixed to before the next step; none is left after the last one.
    next: Option<Mix>,
}

impl Lcm {
    pub(super) fn new(
        config: &SchedulerConfig,
        settings: &Settings,
        steps: usize,
    ) -> Result<(Vec<f32>, Self), Error> {
        refuse(&[("thresholding", config.thresholding == Some(true))])?;
        let indices = indices(config, settings, steps)?;
        settings.check_signal(indices.iter().copied())?;
        let mix = |index: &usize| Mix::of_alpha(settings.alphas_cumprod[*index]);
        let scaling = config.timestep_scaling.unwrap_or(TIMESTEP_SCALING);
        let call = |(position, index): (usize, &usize)| {
            let scaled = *index as f64 * scaling;
            let variance = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
            Call {
                mix: mix(index),
                skip: SIGMA_DATA * SIGMA_DATA / variance,
                out: scaled / variance.sqrt(),
                next: indices.get(position + 1).map(mix),
            }
        };
        let lcm = Self {
            calls: indices.iter().enumerate().map(call).collect(),
            prediction: settings.prediction_type,
            clip: clip(config, false),
        };
        Ok((indices.iter().map(|index| *index as f32).collect(), lcm))
    }

    pub(super) fn needs_noise(&self, index: usize) -> bool {
        self.calls[index].next.is_some()
    }

    pub(super) fn step(&self, step: &Step<'_>) -> Result<Tensor, Error> {
        let Call { mix, skip, out, next } = &self.calls[step.index];
        let original = mix.original(self.prediction, step.output, step.latents)?;
        let original = match self.clip {
            Some(bound) => original.clamp(-bound, bound)?,
            None => original,
        };
        let denoised = weighted(&[(*out, &original), (*skip, step.latents)])?;
        match next {
            Some(next) => weighted(&[(next.signal, &denoised), (next.noise, step.noise()?)]),
            None => Ok(denoised),
        }
    }
}

/// Every so many of the distillation's timesteps, from the noisiest down.
fn indices(config: &SchedulerConfig, settings: &Settings, steps: usize) -> Result<Vec<usize>, Error> {
    let original = config.original_inference_steps.unwrap_or(ORIGINAL_STEPS);
    let distance = settings.train_timesteps.checked_div(original).unwrap_or(0);
    refuse(&[("original_inference_steps out of its training timesteps", distance == 0)])?;
    if steps > original {
        return Err(Error::InvalidInput(format!(
            "steps must be 1 to {original} for this model with scheduler lcm, not {steps}"
        )));
    }
    // `numpy.linspace` without its end, rounded down.
    let step = original as f64 / steps as f64;
    let index = |position: usize| (original - (position as f64 * step) as usize) * distance - 1;
    Ok((0..steps).map(index).collect())
}
