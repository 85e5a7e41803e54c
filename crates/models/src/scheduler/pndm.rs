//! PNDM (Liu et al. 2022) without its Runge-Kutta steps, a linear multistep method of up to fourth order;
//! diffusers `PNDMScheduler` with `skip_prk_steps`.

use candle_core::Tensor;

use super::betas::alphas_cumprod;
use super::{PredictionType, Settings, combine, timesteps};
use crate::error::Error;

/// Earlier outputs that the highest order combines with the newest one.
const MEMORY: usize = 3;

#[derive(Debug, Clone)]
pub(super) struct Pndm {
    /// `ᾱ` before and after each step.
    alphas: Vec<(f64, f64)>,
    velocity: bool,
    /// Model outputs of earlier steps, the newest last.
    outputs: Vec<Tensor>,
    /// The latents before the first step, from which the second one, its correction, starts again.
    start: Option<Tensor>,
}

impl Pndm {
    pub(super) fn new(settings: &Settings, steps: usize) -> Result<(Vec<f32>, Self), Error> {
        let mut indices = timesteps::indices(settings, steps)?;
        if let Some(second) = indices.get(1).copied() {
            // The first step is taken twice: the second time with the mean slope of both its ends.
            indices.insert(2, second);
        }
        let alphas_cumprod = alphas_cumprod(settings);
        let last = if settings.set_alpha_to_one { 1.0 } else { alphas_cumprod[0] };
        let ratio = settings.train_timesteps / steps;
        let alpha = |index: usize| alphas_cumprod[index.min(settings.train_timesteps - 1)];
        let alphas = indices.iter().enumerate().map(|(call, index)| match call {
            1 => (alpha(index + ratio), alpha(*index)),
            _ => (alpha(*index), index.checked_sub(ratio).map_or(last, alpha)),
        });
        let pndm = Self {
            alphas: alphas.collect(),
            velocity: settings.prediction_type == PredictionType::VPrediction,
            outputs: Vec::with_capacity(MEMORY + 1),
            start: None,
        };
        Ok((indices.iter().map(|index| *index as f32).collect(), pndm))
    }

    pub(super) fn step(&mut self, index: usize, output: &Tensor, latents: &Tensor) -> Result<Tensor, Error> {
        if index == 1 {
            let (Some(first), Some(start)) = (self.outputs.last(), self.start.take()) else {
                return Err(Error::Device("the second step of PNDM was taken before the first".into()));
            };
            let mean = combine(0.5, output, 0.5, first)?;
            return self.transfer(index, &mean, &start);
        }
        if index == 0 {
            self.outputs.clear();
            self.start = Some(latents.clone());
        }
        if self.outputs.len() > MEMORY {
            self.outputs.remove(0);
        }
        self.outputs.push(output.clone());
        let slope = self.slope(output)?;
        self.transfer(index, &slope, latents)
    }

    /// Adams and Bashforth's combination of the outputs remembered.
    fn slope(&self, newest: &Tensor) -> Result<Tensor, Error> {
        let weights: &[f64] = match self.outputs.len() {
            0 | 1 => return Ok(newest.clone()),
            2 => &[-1.0 / 2.0, 3.0 / 2.0],
            3 => &[5.0 / 12.0, -16.0 / 12.0, 23.0 / 12.0],
            _ => &[-9.0 / 24.0, 37.0 / 24.0, -59.0 / 24.0, 55.0 / 24.0],
        };
        let mut sum = newest.zeros_like()?;
        for (output, weight) in self.outputs.iter().zip(weights) {
            sum = (sum + output.affine(*weight, 0.0)?)?;
        }
        Ok(sum)
    }

    /// Formula 9 of the paper.
    fn transfer(&self, index: usize, output: &Tensor, latents: &Tensor) -> Result<Tensor, Error> {
        let (alpha, after) = self.alphas[index];
        let (beta, beta_after) = (1.0 - alpha, 1.0 - after);
        let epsilon =
            if self.velocity { combine(alpha.sqrt(), output, beta.sqrt(), latents)? } else { output.clone() };
        let denominator = alpha * beta_after.sqrt() + (alpha * beta * after).sqrt();
        combine((after / alpha).sqrt(), latents, -(after - alpha) / denominator, &epsilon)
    }
}
