//! What the discrete-time algorithms share: a configuration with one algorithm's defaults filled in.

use super::config::{BetaSchedule, PredictionType, SchedulerConfig, TimestepSpacing, refuse};
use super::{Algorithm, betas};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) train_timesteps: usize,
    /// `ᾱ` of each training timestep, the part of the picture's variance that is left; f32 values. The last
    /// is 0 for zero terminal SNR.
    pub(super) alphas_cumprod: Vec<f64>,
    pub(super) prediction_type: PredictionType,
    pub(super) spacing: TimestepSpacing,
    pub(super) steps_offset: usize,
}

impl Settings {
    /// Fills in the defaults of `algorithm`, which is not a flow-matching one. Fields of another algorithm
    /// have no effect, as in diffusers.
    pub(super) fn new(config: &SchedulerConfig, algorithm: Algorithm) -> Result<Self, Error> {
        let train_timesteps = config.num_train_timesteps.unwrap_or(1000);
        let betas = config.trained_betas.as_ref().map_or(train_timesteps, Vec::len);
        if train_timesteps == 0 || betas != train_timesteps {
            return Err(Error::Unsupported(format!(
                "the model's scheduler has {betas} betas for {train_timesteps} training timesteps"
            )));
        }
        let prediction_type = config.prediction_type.unwrap_or(PredictionType::Epsilon);
        check_prediction(algorithm, prediction_type)?;
        let spacing = match algorithm {
            Algorithm::Ddim | Algorithm::Pndm | Algorithm::Lcm => TimestepSpacing::Leading,
            _ => TimestepSpacing::Linspace,
        };
        Ok(Self {
            train_timesteps,
            alphas_cumprod: alphas_cumprod(config, algorithm),
            prediction_type,
            spacing: config.timestep_spacing.unwrap_or(spacing),
            steps_offset: config.steps_offset.unwrap_or(0),
        })
    }

    /// `ᾱ` after the last step of the algorithms that step between training timesteps.
    pub(super) fn last_alpha(&self, set_to_one: Option<bool>, default: bool) -> f64 {
        if set_to_one.unwrap_or(default) { 1.0 } else { self.alphas_cumprod[0] }
    }

    /// Refuses what divides by zero: noise can't be taken from latents that are nothing else.
    pub(super) fn check_signal(&self, mut indices: impl Iterator<Item = usize>) -> Result<(), Error> {
        let silent = indices.any(|index| self.alphas_cumprod[index] == 0.0);
        let epsilon = self.prediction_type == PredictionType::Epsilon;
        refuse(&[("rescale_betas_zero_snr with prediction_type epsilon", silent && epsilon)])
    }
}

fn check_prediction(algorithm: Algorithm, prediction_type: PredictionType) -> Result<(), Error> {
    let sample = prediction_type == PredictionType::Sample;
    let flow = prediction_type == PredictionType::FlowPrediction;
    let log_snr = matches!(algorithm, Algorithm::Dpmpp2m | Algorithm::Dpmpp2mKarras | Algorithm::Unipc);
    let noise_only = matches!(algorithm, Algorithm::Pndm | Algorithm::EulerAncestral);
    refuse(&[
        ("prediction_type sample", sample && noise_only),
        ("prediction_type flow_prediction", flow && !log_snr),
    ])
}

fn alphas_cumprod(config: &SchedulerConfig, algorithm: Algorithm) -> Vec<f64> {
    let lcm = algorithm == Algorithm::Lcm;
    let (start, end, schedule) =
        if lcm { (0.00085, 0.012, BetaSchedule::ScaledLinear) } else { (0.0001, 0.02, BetaSchedule::Linear) };
    let betas = match &config.trained_betas {
        Some(betas) => betas.iter().map(|beta| *beta as f32).collect(),
        None => betas::scheduled(
            config.beta_schedule.unwrap_or(schedule),
            config.beta_start.unwrap_or(start),
            config.beta_end.unwrap_or(end),
            config.num_train_timesteps.unwrap_or(1000),
        ),
    };
    // PNDM alone has no such field.
    let zero_snr = algorithm != Algorithm::Pndm && config.rescale_betas_zero_snr == Some(true);
    betas::alphas_cumprod(&if zero_snr { betas::rescaled(&betas) } else { betas })
}
