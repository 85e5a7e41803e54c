//! Euler with fresh noise after each step; diffusers `EulerAncestralDiscreteScheduler`.

use candle_core::Tensor;

use super::config::PredictionType;
use super::prediction::original_at_sigma;
use super::settings::Settings;
use super::{Step, euler, sigmas};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct EulerAncestral {
    /// Noise level before each step, and 0 after the last one; f32 values.
    sigmas: Vec<f64>,
    prediction: PredictionType,
    init_noise_sigma: f64,
}

impl EulerAncestral {
    pub(super) fn new(settings: &Settings, steps: usize) -> (Vec<f32>, Self) {
        let training = sigmas::training(settings);
        let timesteps = euler::spaced(settings, steps);
        let level = |t: &f32| f64::from(sigmas::interpolate(&training, f64::from(*t)) as f32);
        let mut sigmas = timesteps.iter().map(level).collect::<Vec<_>>();
        sigmas.push(0.0);
        let init_noise_sigma = euler::init_noise_sigma(settings, &sigmas);
        (timesteps, Self { sigmas, prediction: settings.prediction_type, init_noise_sigma })
    }

    pub(super) fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    pub(super) fn scale_model_input(&self, index: usize, latents: &Tensor) -> Result<Tensor, Error> {
        euler::scaled(self.sigmas[index], latents)
    }

    pub(super) fn needs_noise(&self, index: usize) -> bool {
        self.sigmas[index + 1] > 0.0
    }

    pub(super) fn step(&self, step: &Step<'_>) -> Result<Tensor, Error> {
        let (from, to) = (self.sigmas[step.index], self.sigmas[step.index + 1]);
        let original = original_at_sigma(self.prediction, from, step.output, step.latents)?;
        let (down, up) = down_and_up(from as f32, to as f32);
        let latents = euler::moved(&original, step.latents, from, down)?;
        if !self.needs_noise(step.index) {
            return Ok(latents);
        }
        Ok((latents + step.noise()?.affine(up, 0.0)?)?)
    }
}

/// The level a step goes down to, which is less noise than wanted, and how much fresh noise then makes it the
/// level `to`.
///
/// In f32, as the reference has it. There the rounded square of the first is below 0 for some schedules, and
/// the picture lost; here it is 0.
fn down_and_up(from: f32, to: f32) -> (f64, f64) {
    let (from, to) = (from * from, to * to);
    let up = (to * (from - to) / from).max(0.0).sqrt();
    let down = (to - up * up).max(0.0).sqrt();
    (down.into(), up.into())
}
