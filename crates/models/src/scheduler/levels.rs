//! The noise levels of solvers that step in log-SNR, DPM-Solver++ and UniPC.

use candle_core::Tensor;

use super::config::{FinalSigma, PredictionType, SchedulerConfig, refuse};
use super::prediction::Mix;
use super::settings::Settings;
use super::sigmas::{self, Spread};
use super::{Algorithm, Step, timesteps};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct Levels {
    /// Before each step and after the last one; f32 values.
    sigmas: Vec<f64>,
    /// Whether latents are `(1 - sigma) · picture + sigma · ε` rather than scaled to a variance of 1.
    flow: bool,
    prediction: PredictionType,
}

impl Levels {
    /// The timesteps and levels of `steps` steps for one of the two solvers.
    pub(super) fn new(
        config: &SchedulerConfig,
        settings: &Settings,
        algorithm: Algorithm,
        steps: usize,
    ) -> Result<(Vec<f32>, Self), Error> {
        let flow = config.use_flow_sigmas == Some(true);
        let spread = Spread::of(config, algorithm)?;
        refuse(&[
            ("use_flow_sigmas with another spread of sigmas", flow && spread.is_some()),
            ("use_dynamic_shifting", flow && config.use_dynamic_shifting == Some(true)),
        ])?;
        let training = sigmas::training(settings);
        let unipc = algorithm == Algorithm::Unipc;
        let (timesteps, mut levels) = match spread {
            None if flow && unipc => unipc_flow(config, settings, steps),
            None if flow => dpm_flow(config, settings, steps),
            Some(spread) => spread_out(spread, config, algorithm, &training, steps),
            None => {
                let end = if unipc { settings.train_timesteps } else { end_of_dpm(config, settings)? };
                let indices = timesteps::inner_indices(settings, steps, end)?;
                let levels = indices.iter().map(|index| training[*index]).collect();
                (indices.into_iter().map(|index| index as f64).collect(), levels)
            }
        };
        let last = match config.final_sigmas_type.unwrap_or_default() {
            FinalSigma::SigmaMin if unipc && (flow || spread.is_some()) => {
                levels.last().copied().unwrap_or_default()
            }
            _ => sigmas::last(config, &training),
        };
        levels.push(last);
        let sigmas = levels.into_iter().map(|sigma| f64::from(sigma as f32)).collect();
        // The reference makes them integers.
        let timesteps = timesteps.into_iter().map(|timestep| timestep.trunc() as f32).collect();
        Ok((timesteps, Self { sigmas, flow, prediction: settings.prediction_type }))
    }

    pub(super) fn sigma(&self, index: usize) -> f64 {
        self.sigmas[index]
    }

    /// The number of steps.
    pub(super) fn steps(&self) -> usize {
        self.sigmas.len() - 1
    }

    pub(super) fn mix(&self, index: usize) -> Mix {
        let sigma = self.sigmas[index];
        if self.flow {
            return Mix { signal: 1.0 - sigma, noise: sigma };
        }
        let signal = 1.0 / (sigma * sigma + 1.0).sqrt();
        Mix { signal, noise: sigma * signal }
    }

    /// The logarithm of signal by noise.
    pub(super) fn lambda(&self, index: usize) -> f64 {
        let Mix { signal, noise } = self.mix(index);
        libm::log(signal) - libm::log(noise)
    }

    /// The noiseless latents that the model predicts in `step`.
    pub(super) fn original(&self, step: &Step<'_>) -> Result<Tensor, Error> {
        self.mix_of_model(step.index).original(self.prediction, step.output, step.latents)
    }

    /// The noise that the model predicts in `step`.
    pub(super) fn epsilon(&self, step: &Step<'_>) -> Result<Tensor, Error> {
        self.mix_of_model(step.index).epsilon(self.prediction, step.output, step.latents)
    }

    /// The mix in which the model's output is meant.
    fn mix_of_model(&self, index: usize) -> Mix {
        match self.prediction {
            PredictionType::FlowPrediction => Mix { signal: 1.0, noise: self.sigmas[index] },
            _ => self.mix(index),
        }
    }
}

/// How many of the first training timesteps DPM-Solver++ visits: up to the least log-SNR allowed.
fn end_of_dpm(config: &SchedulerConfig, settings: &Settings) -> Result<usize, Error> {
    let least = config.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY);
    let lambda = |alpha: &&f64| 0.5 * (libm::log(**alpha) - libm::log(1.0 - **alpha));
    let clipped = settings.alphas_cumprod.iter().filter(|alpha| lambda(alpha) < least).count();
    refuse(&[("lambda_min_clipped above every log-SNR", clipped == settings.train_timesteps)])?;
    Ok(settings.train_timesteps - clipped)
}

fn spread_out(
    spread: Spread,
    config: &SchedulerConfig,
    algorithm: Algorithm,
    training: &[f64],
    steps: usize,
) -> (Vec<f64>, Vec<f64>) {
    let falling = training.iter().rev().copied().collect::<Vec<_>>();
    let logarithms = sigmas::logarithms(training);
    let ends = match spread {
        Spread::Lu => (libm::exp(logarithms[logarithms.len() - 1]), libm::exp(logarithms[0])),
        _ => sigmas::ends(config, algorithm, &falling),
    };
    let levels = spread.levels(ends, steps);
    let cosine = config.beta_schedule == Some(super::config::BetaSchedule::SquaredCosine);
    let rounded = match spread {
        Spread::Karras | Spread::Lu => algorithm == Algorithm::Unipc || !cosine,
        Spread::Exponential | Spread::Beta => false,
    };
    let timestep = |sigma: &f64| {
        let timestep = sigmas::timestep(*sigma, &logarithms);
        if rounded { timestep.round_ties_even() } else { timestep }
    };
    (levels.iter().map(timestep).collect(), levels)
}

fn dpm_flow(config: &SchedulerConfig, settings: &Settings, steps: usize) -> (Vec<f64>, Vec<f64>) {
    let train = settings.train_timesteps as f64;
    let level = |signal: f64| shifted(1.0 - signal, config);
    let signals = timesteps::linspace(1.0, 1.0 / train, steps + 1);
    let levels = signals.into_iter().skip(1).rev().map(level).collect::<Vec<_>>();
    (levels.iter().map(|sigma| sigma * train).collect(), levels)
}

fn unipc_flow(config: &SchedulerConfig, settings: &Settings, steps: usize) -> (Vec<f64>, Vec<f64>) {
    /// Keeps the signal of the first level above 0, whose logarithm is taken.
    const LEAST_SIGNAL: f64 = 1e-6;
    let train = settings.train_timesteps as f64;
    let levels = timesteps::linspace(1.0, 1.0 / train, steps + 1);
    let level = |sigma: f64| match shifted(sigma, config) {
        pure if (pure - 1.0).abs() < LEAST_SIGNAL => pure - LEAST_SIGNAL,
        sigma => sigma,
    };
    let levels = levels.into_iter().take(steps).map(level).collect::<Vec<_>>();
    (levels.iter().map(|sigma| sigma * train).collect(), levels)
}

fn shifted(sigma: f64, config: &SchedulerConfig) -> f64 {
    let shift = config.flow_shift.unwrap_or(1.0);
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}
