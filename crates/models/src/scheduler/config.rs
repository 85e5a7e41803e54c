//! `scheduler_config.json`.

use serde::Deserialize;

use super::Algorithm;
use crate::error::Error;

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
    #[serde(alias = "original_sample")]
    Sample,
    /// The straight line's direction from picture to noise.
    FlowPrediction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimestepSpacing {
    Linspace,
    Leading,
    Trailing,
}

/// What the noise level is after the last step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FinalSigma {
    #[default]
    Zero,
    /// The least of the training schedule.
    SigmaMin,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Interpolation {
    #[default]
    Linear,
    LogLinear,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimestepType {
    #[default]
    Discrete,
    /// A quarter of the noise level's logarithm, for v-prediction.
    Continuous,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum SolverType {
    #[serde(rename = "midpoint")]
    Midpoint,
    #[serde(rename = "heun")]
    Heun,
    #[serde(rename = "logrho")]
    LogRho,
    #[serde(rename = "bh1")]
    Bh1,
    #[serde(rename = "bh2")]
    Bh2,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimeShift {
    #[default]
    Exponential,
    Linear,
}

/// A diffusers scheduler configuration. Fields that the file lacks stay empty, since their defaults belong to
/// the algorithm, and a request may name another one than the file.
#[derive(Debug, Clone, Deserialize)]
pub struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    pub(super) class: String,
    pub(super) num_train_timesteps: Option<usize>,
    pub(super) beta_start: Option<f64>,
    pub(super) beta_end: Option<f64>,
    pub(super) beta_schedule: Option<BetaSchedule>,
    pub(super) trained_betas: Option<Vec<f64>>,
    pub(super) rescale_betas_zero_snr: Option<bool>,
    pub(super) prediction_type: Option<PredictionType>,
    pub(super) timestep_spacing: Option<TimestepSpacing>,
    pub(super) steps_offset: Option<usize>,
    pub(super) thresholding: Option<bool>,
    // DDIM, PNDM, LCM.
    pub(super) set_alpha_to_one: Option<bool>,
    pub(super) clip_sample: Option<bool>,
    pub(super) clip_sample_range: Option<f64>,
    pub(super) skip_prk_steps: Option<bool>,
    pub(super) original_inference_steps: Option<usize>,
    pub(super) timestep_scaling: Option<f64>,
    // Noise levels.
    pub(super) use_karras_sigmas: Option<bool>,
    pub(super) use_exponential_sigmas: Option<bool>,
    pub(super) use_beta_sigmas: Option<bool>,
    pub(super) use_lu_lambdas: Option<bool>,
    pub(super) interpolation_type: Option<Interpolation>,
    pub(super) timestep_type: Option<TimestepType>,
    pub(super) final_sigmas_type: Option<FinalSigma>,
    pub(super) sigma_min: Option<f64>,
    pub(super) sigma_max: Option<f64>,
    // DPM-Solver++, UniPC.
    pub(super) algorithm_type: Option<String>,
    pub(super) solver_order: Option<usize>,
    pub(super) solver_type: Option<SolverType>,
    pub(super) lower_order_final: Option<bool>,
    pub(super) euler_at_final: Option<bool>,
    pub(super) lambda_min_clipped: Option<f64>,
    pub(super) variance_type: Option<String>,
    pub(super) predict_x0: Option<bool>,
    pub(super) disable_corrector: Option<Vec<usize>>,
    pub(super) solver_p: Option<serde_json::Value>,
    pub(super) use_flow_sigmas: Option<bool>,
    pub(super) flow_shift: Option<f64>,
    // Flow matching.
    pub(super) shift: Option<f64>,
    pub(super) use_dynamic_shifting: Option<bool>,
    pub(super) base_shift: Option<f64>,
    pub(super) max_shift: Option<f64>,
    pub(super) base_image_seq_len: Option<usize>,
    pub(super) max_image_seq_len: Option<usize>,
    pub(super) shift_terminal: Option<f64>,
    pub(super) time_shift_type: Option<TimeShift>,
    pub(super) invert_sigmas: Option<bool>,
    pub(super) stochastic_sampling: Option<bool>,
    /// Not in the file; see [`Self::with_pipeline_sigmas`].
    #[serde(skip)]
    pub(super) pipeline_sigmas: bool,
}

impl SchedulerConfig {
    /// The algorithm that the configuration names.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it is not implemented, saying which ones a request can name instead.
    pub fn algorithm(&self) -> Result<Algorithm, Error> {
        self.own_algorithm().ok_or_else(|| {
            Error::Unsupported(format!(
                "the model's scheduler {} is not implemented; name {} in the request",
                self.class,
                self.nameable()
            ))
        })
    }

    /// The configuration for a family whose pipeline brings the noise levels of a flow-matching walk itself,
    /// evenly from 1 to `1 / steps` before shifting (FLUX). Without it they go down to the end of the training
    /// schedule, which is shifted twice (SD3).
    pub fn with_pipeline_sigmas(self) -> Self {
        Self { pipeline_sigmas: true, ..self }
    }

    /// The configuration as diffusers' `StableDiffusionPipeline` (1.x and 2.x, not XL) corrects it: files of
    /// its first versions lack an offset of 1 and clip latents.
    pub fn with_stable_diffusion_corrections(self) -> Self {
        Self { steps_offset: Some(1), clip_sample: Some(false), ..self }
    }

    fn own_algorithm(&self) -> Option<Algorithm> {
        match self.class.as_str() {
            "DDIMScheduler" => Some(Algorithm::Ddim),
            "PNDMScheduler" => Some(Algorithm::Pndm),
            "EulerDiscreteScheduler" => Some(Algorithm::Euler),
            "EulerAncestralDiscreteScheduler" => Some(Algorithm::EulerAncestral),
            "DPMSolverMultistepScheduler" => Some(Algorithm::Dpmpp2m),
            "LCMScheduler" => Some(Algorithm::Lcm),
            "UniPCMultistepScheduler" => Some(Algorithm::Unipc),
            "FlowMatchEulerDiscreteScheduler" => Some(Algorithm::FlowMatchEuler),
            _ => None,
        }
    }

    /// Whether the file is written for `algorithm`.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.own_algorithm() == Some(algorithm)
    }

    /// Refuses an algorithm of the other kind of model than this one: discrete-time or flow-matching.
    pub(super) fn check_kind(&self, algorithm: Algorithm) -> Result<(), Error> {
        if self.is_for(algorithm) || self.accepts(algorithm) {
            return Ok(());
        }
        let kind = if self.is_flow() { "a flow-matching" } else { "no flow-matching" };
        Err(Error::InvalidInput(format!(
            "this is {kind} model: scheduler must be {}, not {}",
            self.nameable(),
            algorithm.as_str()
        )))
    }

    fn is_flow(&self) -> bool {
        self.class.starts_with("FlowMatch")
            || self.use_flow_sigmas == Some(true)
            || self.prediction_type == Some(PredictionType::FlowPrediction)
    }

    fn accepts(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::FlowMatchEuler => self.is_flow(),
            Algorithm::Dpmpp2m | Algorithm::Unipc => !self.is_flow() || self.use_flow_sigmas == Some(true),
            _ => !self.is_flow(),
        }
    }

    /// The names a request may choose from.
    fn nameable(&self) -> String {
        let names = Algorithm::ALL
            .into_iter()
            .filter(|kind| self.accepts(*kind))
            .map(Algorithm::as_str)
            .collect::<Vec<_>>();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

/// The error for a field whose value has no implementation, or no result in the reference either.
pub(super) fn unsupported(field: &str) -> Error {
    Error::Unsupported(format!("the model's scheduler sets {field}, which is not implemented"))
}

/// [`unsupported`] for the first field that is set.
pub(super) fn refuse(fields: &[(&str, bool)]) -> Result<(), Error> {
    fields.iter().find(|(_, set)| *set).map_or(Ok(()), |(field, _)| Err(unsupported(field)))
}
