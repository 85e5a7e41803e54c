//! Euler along the straight lines of flow matching (Esser et al. 2024); diffusers
//! `FlowMatchEulerDiscreteScheduler`.

use candle_core::Tensor;

use super::config::{SchedulerConfig, TimeShift, refuse};
use super::sigmas::{self, Spread};
use super::timesteps::linspace;
use super::{Algorithm, Step, Walk, check_steps, weighted};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct FlowMatch {
    /// Part of noise in the latents before each step, and 0 after the last one; f32 values.
    sigmas: Vec<f64>,
    /// Whether each step goes to the picture and back with fresh noise.
    stochastic: bool,
}

impl FlowMatch {
    pub(super) fn new(config: &SchedulerConfig, walk: &Walk) -> Result<(Vec<f32>, Self), Error> {
        let train = config.num_train_timesteps.unwrap_or(1000);
        check_steps(walk.steps, train)?;
        refuse(&[("invert_sigmas", config.invert_sigmas == Some(true))])?;
        let rounding = if config.pipeline_sigmas { Rounding::F32 } else { Rounding::F64 };
        let shift = Shift::new(config, walk.image_tokens);
        let mut levels = unshifted(config, train, walk.steps)
            .into_iter()
            .map(|sigma| shift.apply(rounding.round(sigma), rounding))
            .collect::<Vec<_>>();
        if let Some(end) = config.shift_terminal.filter(|end| *end != 0.0) {
            levels = stretched(&levels, end, rounding)?;
        }
        if let Some(spread) = Spread::of(config, Algorithm::FlowMatchEuler)? {
            levels = spread.levels(sigmas::ends(config, Algorithm::FlowMatchEuler, &levels), walk.steps);
        }
        let timesteps = levels.iter().map(|sigma| *sigma as f32 * train as f32).collect();
        let mut sigmas = levels.into_iter().map(|sigma| f64::from(sigma as f32)).collect::<Vec<_>>();
        sigmas.push(0.0);
        Ok((timesteps, Self { sigmas, stochastic: config.stochastic_sampling == Some(true) }))
    }

    pub(super) fn needs_noise(&self, index: usize) -> bool {
        self.stochastic && self.sigmas[index + 1] > 0.0
    }

    pub(super) fn step(&self, step: &Step<'_>) -> Result<Tensor, Error> {
        let (sigma, next) = (self.sigmas[step.index], self.sigmas[step.index + 1]);
        if !self.needs_noise(step.index) {
            return weighted(&[(1.0, step.latents), (next - sigma, step.output)]);
        }
        let original = weighted(&[(1.0, step.latents), (-sigma, step.output)])?;
        weighted(&[(1.0 - next, &original), (next, step.noise()?)])
    }
}

/// In which precision the reference computes levels: in f64 its own, in f32 what a pipeline gives it.
#[derive(Clone, Copy)]
enum Rounding {
    F32,
    F64,
}

impl Rounding {
    fn round(self, value: f64) -> f64 {
        match self {
            Self::F32 => f64::from(value as f32),
            Self::F64 => value,
        }
    }
}

/// How levels are moved towards noise.
enum Shift {
    /// By the file's factor.
    Fixed(f64),
    /// By the size of the picture: larger ones need more noise to be hidden.
    Dynamic(f64),
}

impl Shift {
    fn new(config: &SchedulerConfig, image_tokens: usize) -> Self {
        if config.use_dynamic_shifting != Some(true) {
            return Self::Fixed(config.shift.unwrap_or(1.0));
        }
        let mu = mu(config, image_tokens);
        match config.time_shift_type.unwrap_or_default() {
            TimeShift::Exponential => Self::Dynamic(libm::exp(mu)),
            TimeShift::Linear => Self::Dynamic(mu),
        }
    }

    fn apply(&self, sigma: f64, rounding: Rounding) -> f64 {
        let round = |value| rounding.round(value);
        match *self {
            Self::Fixed(shift) => fixed(round(shift), round(shift - 1.0), sigma, rounding),
            Self::Dynamic(shift) => {
                let shift = round(shift);
                let odds = round(round(1.0 / sigma) - 1.0);
                round(shift / round(shift + odds))
            }
        }
    }
}

/// `shift · sigma / (1 + (shift - 1) · sigma)`
fn fixed(shift: f64, less_one: f64, sigma: f64, rounding: Rounding) -> f64 {
    let round = |value| rounding.round(value);
    round(round(shift * sigma) / round(1.0 + round(less_one * sigma)))
}

/// Linear in the number of tokens, through the two points of the file.
fn mu(config: &SchedulerConfig, image_tokens: usize) -> f64 {
    let (base, max) = (config.base_shift.unwrap_or(0.5), config.max_shift.unwrap_or(1.15));
    let base_tokens = config.base_image_seq_len.unwrap_or(256) as f64;
    let max_tokens = config.max_image_seq_len.unwrap_or(4096) as f64;
    let slope = (max - base) / (max_tokens - base_tokens);
    image_tokens as f64 * slope + (base - slope * base_tokens)
}

/// The levels before shifting.
fn unshifted(config: &SchedulerConfig, train: usize, steps: usize) -> Vec<f64> {
    if config.pipeline_sigmas {
        return linspace(1.0, 1.0 / steps as f64, steps);
    }
    // The ends of the training schedule, which the reference has shifted already, in f32.
    let end = |timestep: usize| {
        let sigma = Rounding::F32.round((timestep as f32 / train as f32).into());
        let shift = config.shift.filter(|_| config.use_dynamic_shifting != Some(true)).unwrap_or(1.0);
        let (shift, less_one) = (Rounding::F32.round(shift), Rounding::F32.round(shift - 1.0));
        fixed(shift, less_one, sigma, Rounding::F32)
    };
    let train_timesteps = train as f64;
    let timesteps = linspace(end(train) * train_timesteps, end(1) * train_timesteps, steps);
    timesteps.into_iter().map(|timestep| timestep / train_timesteps).collect()
}

/// The levels stretched so that the last one is `end`.
fn stretched(levels: &[f64], end: f64, rounding: Rounding) -> Result<Vec<f64>, Error> {
    let round = |value| rounding.round(value);
    let signals = levels.iter().map(|sigma| round(1.0 - sigma)).collect::<Vec<_>>();
    let factor = round(signals.last().copied().unwrap_or_default() / round(1.0 - end));
    if factor == 0.0 {
        let steps = levels.len();
        return Err(Error::InvalidInput(format!("{steps} steps are too few for this model's scheduler")));
    }
    Ok(signals.into_iter().map(|signal| round(1.0 - round(signal / factor))).collect())
}
