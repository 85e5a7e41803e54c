//! `scheduler_config.json`.

use darkroom_jobs::SchedulerKind;
use serde::Deserialize;

use super::Settings;
use crate::error::Error;

/// A sampling algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Song et al. 2020, deterministic (eta 0).
    Ddim,
    /// Karras et al. 2022, algorithm 2 without churn.
    Euler,
    /// Liu et al. 2022, the linear multistep part only. What Stable Diffusion 1.5 names.
    Pndm,
}

impl Algorithm {
    /// The algorithm of a diffusers class.
    fn of_class(class: &str) -> Option<Self> {
        match class {
            "DDIMScheduler" => Some(Self::Ddim),
            "EulerDiscreteScheduler" => Some(Self::Euler),
            "PNDMScheduler" => Some(Self::Pndm),
            _ => None,
        }
    }
}

impl From<SchedulerKind> for Algorithm {
    fn from(kind: SchedulerKind) -> Self {
        match kind {
            SchedulerKind::Ddim => Self::Ddim,
            SchedulerKind::Euler => Self::Euler,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BetaSchedule {
    Linear,
    ScaledLinear,
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// What the model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PredictionType {
    /// The noise.
    Epsilon,
    /// The velocity between noise and picture.
    VPrediction,
    /// The noiseless latents.
    Sample,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimestepSpacing {
    Linspace,
    Leading,
    Trailing,
}

/// A diffusers scheduler configuration. Fields that the file lacks stay empty, since their defaults belong to
/// the algorithm, and a request may name another one than the file.
#[derive(Debug, Clone, Deserialize)]
pub struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    class: String,
    num_train_timesteps: Option<usize>,
    beta_start: Option<f64>,
    beta_end: Option<f64>,
    beta_schedule: Option<BetaSchedule>,
    trained_betas: Option<Vec<f64>>,
    prediction_type: Option<PredictionType>,
    timestep_spacing: Option<TimestepSpacing>,
    steps_offset: Option<usize>,
    set_alpha_to_one: Option<bool>,
    clip_sample: Option<bool>,
    clip_sample_range: Option<f64>,
    skip_prk_steps: Option<bool>,
    // Variants of which only the usual value is implemented.
    thresholding: Option<bool>,
    rescale_betas_zero_snr: Option<bool>,
    use_karras_sigmas: Option<bool>,
    use_exponential_sigmas: Option<bool>,
    use_beta_sigmas: Option<bool>,
    interpolation_type: Option<String>,
    timestep_type: Option<String>,
    final_sigmas_type: Option<String>,
    sigma_min: Option<f64>,
    sigma_max: Option<f64>,
}

impl SchedulerConfig {
    /// The algorithm that the configuration names.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it is not implemented, saying which ones a request can name instead.
    pub fn algorithm(&self) -> Result<Algorithm, Error> {
        Algorithm::of_class(&self.class).ok_or_else(|| {
            let possible = SchedulerKind::ALL.map(SchedulerKind::as_str).join(" or ");
            Error::Unsupported(format!(
                "the model's scheduler {} is not implemented; name {possible} in the request",
                self.class
            ))
        })
    }

    /// Fills in the defaults of `algorithm`.
    pub(super) fn resolve(&self, algorithm: Algorithm) -> Result<Settings, Error> {
        self.check_variants(algorithm)?;
        let train_timesteps = self.num_train_timesteps.unwrap_or(1000);
        let betas = self.trained_betas.as_ref().map_or(train_timesteps, Vec::len);
        if train_timesteps == 0 || betas != train_timesteps {
            return Err(Error::Unsupported(format!(
                "the model's scheduler has {betas} betas for {train_timesteps} training timesteps"
            )));
        }
        let spacing = match algorithm {
            Algorithm::Ddim | Algorithm::Pndm => TimestepSpacing::Leading,
            Algorithm::Euler => TimestepSpacing::Linspace,
        };
        let clip = (algorithm == Algorithm::Ddim && self.clip_sample.unwrap_or(true))
            .then(|| self.clip_sample_range.unwrap_or(1.0));
        Ok(Settings {
            train_timesteps,
            beta_start: self.beta_start.unwrap_or(0.0001),
            beta_end: self.beta_end.unwrap_or(0.02),
            beta_schedule: self.beta_schedule.unwrap_or(BetaSchedule::Linear),
            trained_betas: self.trained_betas.clone(),
            prediction_type: self.prediction_type.unwrap_or(PredictionType::Epsilon),
            spacing: self.timestep_spacing.unwrap_or(spacing),
            steps_offset: self.steps_offset.unwrap_or(0),
            set_alpha_to_one: self.set_alpha_to_one.unwrap_or(algorithm == Algorithm::Ddim),
            clip,
        })
    }

    /// Refuses variants that would change the picture and are not implemented. Fields of another algorithm
    /// than the one in use have no effect, as in diffusers.
    fn check_variants(&self, algorithm: Algorithm) -> Result<(), Error> {
        let other = |field: &Option<String>, usual: &str| field.as_ref().is_some_and(|value| value != usual);
        let fields = match algorithm {
            Algorithm::Ddim => vec![
                ("thresholding", self.thresholding == Some(true)),
                ("rescale_betas_zero_snr", self.rescale_betas_zero_snr == Some(true)),
            ],
            Algorithm::Euler => vec![
                ("rescale_betas_zero_snr", self.rescale_betas_zero_snr == Some(true)),
                ("use_karras_sigmas", self.use_karras_sigmas == Some(true)),
                ("use_exponential_sigmas", self.use_exponential_sigmas == Some(true)),
                ("use_beta_sigmas", self.use_beta_sigmas == Some(true)),
                ("interpolation_type", other(&self.interpolation_type, "linear")),
                ("timestep_type", other(&self.timestep_type, "discrete")),
                ("final_sigmas_type", other(&self.final_sigmas_type, "zero")),
                ("sigma_min", self.sigma_min.is_some()),
                ("sigma_max", self.sigma_max.is_some()),
            ],
            Algorithm::Pndm => vec![
                ("skip_prk_steps: false", !self.skip_prk_steps.unwrap_or(false)),
                ("prediction_type: sample", self.prediction_type == Some(PredictionType::Sample)),
            ],
        };
        match fields.into_iter().find(|(_, set)| *set) {
            Some((field, _)) => Err(Error::Unsupported(format!(
                "the model's scheduler sets {field}, which is not implemented"
            ))),
            None => Ok(()),
        }
    }
}
