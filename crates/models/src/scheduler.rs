//! Noise schedules and the samplers that walk them, as diffusers 0.42 defines them.
//!
//! All arithmetic is in f32, whatever the model computes in; coefficients are worked out in f64.

mod betas;
mod config;
mod ddim;
mod euler;
mod pndm;
mod timesteps;

use candle_core::Tensor;

pub use self::config::{Algorithm, SchedulerConfig};
use self::config::{BetaSchedule, PredictionType, TimestepSpacing};
use self::ddim::Ddim;
use self::euler::Euler;
use self::pndm::Pndm;
use crate::error::Error;

/// A sampler in the middle of its walk from noise to latents.
#[derive(Debug, Clone)]
pub struct Scheduler {
    timesteps: Vec<f32>,
    sampler: Sampler,
}

#[derive(Debug, Clone)]
enum Sampler {
    Ddim(Ddim),
    Euler(Euler),
    Pndm(Pndm),
}

impl Scheduler {
    /// Sets up `algorithm` for `steps` steps with the parameters of `config`; fields that `config` lacks have
    /// the algorithm's own defaults.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the schedule has no such number of steps, [`Error::Unsupported`] when
    /// `config` asks for a variant that is not implemented.
    pub fn new(config: &SchedulerConfig, algorithm: Algorithm, steps: usize) -> Result<Self, Error> {
        let settings = config.resolve(algorithm)?;
        if steps == 0 || steps > settings.train_timesteps {
            return Err(Error::InvalidInput(format!(
                "steps must be 1 to {} for this model, not {steps}",
                settings.train_timesteps
            )));
        }
        let (timesteps, sampler) = match algorithm {
            Algorithm::Ddim => {
                let (timesteps, ddim) = Ddim::new(&settings, steps)?;
                (timesteps, Sampler::Ddim(ddim))
            }
            Algorithm::Euler => {
                let (timesteps, euler) = Euler::new(&settings, steps)?;
                (timesteps, Sampler::Euler(euler))
            }
            Algorithm::Pndm => {
                let (timesteps, pndm) = Pndm::new(&settings, steps)?;
                (timesteps, Sampler::Pndm(pndm))
            }
        };
        Ok(Self { timesteps, sampler })
    }

    /// The timestep of each call of the model, from noise to picture. There may be one more of them than
    /// steps were asked for (PNDM).
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// What standard normal noise is multiplied with before the first step.
    pub fn init_noise_sigma(&self) -> f64 {
        match &self.sampler {
            Sampler::Euler(euler) => euler.init_noise_sigma(),
            Sampler::Ddim(_) | Sampler::Pndm(_) => 1.0,
        }
    }

    /// What the model is shown in step `index`, from f32 latents.
    ///
    /// # Errors
    /// When the device fails.
    pub fn scale_model_input(&self, index: usize, latents: &Tensor) -> Result<Tensor, Error> {
        match &self.sampler {
            Sampler::Euler(euler) => euler.scale_model_input(index, latents),
            Sampler::Ddim(_) | Sampler::Pndm(_) => Ok(latents.clone()),
        }
    }

    /// The latents after step `index`, from the f32 latents before it and the model's f32 output.
    ///
    /// Steps must be taken in order: multistep samplers remember earlier outputs.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&mut self, index: usize, output: &Tensor, latents: &Tensor) -> Result<Tensor, Error> {
        match &mut self.sampler {
            Sampler::Ddim(ddim) => ddim.step(index, output, latents),
            Sampler::Euler(euler) => euler.step(index, output, latents),
            Sampler::Pndm(pndm) => pndm.step(index, output, latents),
        }
    }
}

/// A configuration with the defaults of one algorithm filled in.
#[derive(Debug, Clone)]
struct Settings {
    train_timesteps: usize,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: BetaSchedule,
    trained_betas: Option<Vec<f64>>,
    prediction_type: PredictionType,
    spacing: TimestepSpacing,
    steps_offset: usize,
    set_alpha_to_one: bool,
    /// The bound of predicted latents, where they are clipped.
    clip: Option<f64>,
}

/// `a · x + b · y`
fn combine(a: f64, x: &Tensor, b: f64, y: &Tensor) -> Result<Tensor, Error> {
    Ok((x.affine(a, 0.0)? + y.affine(b, 0.0)?)?)
}
