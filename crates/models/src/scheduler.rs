//! Noise schedules and the samplers that walk them, as diffusers 0.42 defines them.
//!
//! All arithmetic on latents is in f32, whatever the model computes in; coefficients are worked out in f64.

mod beta_quantile;
mod betas;
mod config;
mod ddim;
mod dpm;
mod euler;
mod euler_ancestral;
mod flow_match;
mod lcm;
mod levels;
mod pndm;
mod prediction;
mod settings;
mod sigmas;
mod timesteps;
mod unipc;

use candle_core::Tensor;
/// A sampling algorithm: what a request may name.
pub use darkroom_jobs::SchedulerKind as Algorithm;

pub use self::config::SchedulerConfig;
use self::ddim::Ddim;
use self::dpm::Dpm;
use self::euler::Euler;
use self::euler_ancestral::EulerAncestral;
use self::flow_match::FlowMatch;
use self::lcm::Lcm;
use self::pndm::Pndm;
use self::settings::Settings;
use self::unipc::UniPc;
use crate::error::Error;

/// What a walk from noise to latents is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// How many steps it takes.
    pub steps: usize,
    /// How many tokens a transformer makes of the picture: latent height / 2 × width / 2. Only dynamic
    /// shifting looks at it.
    pub image_tokens: usize,
}

/// A sampler in the middle of its walk from noise to latents.
#[derive(Debug, Clone)]
pub struct Scheduler {
    timesteps: Vec<f32>,
    sampler: Sampler,
}

#[derive(Debug, Clone)]
enum Sampler {
    Ddim(Ddim),
    Dpm(Dpm),
    Euler(Euler),
    EulerAncestral(EulerAncestral),
    FlowMatch(FlowMatch),
    Lcm(Lcm),
    Pndm(Pndm),
    UniPc(UniPc),
}

/// A sampler's input in one step; tensors are f32 and of one shape.
struct Step<'a> {
    index: usize,
    output: &'a Tensor,
    latents: &'a Tensor,
    noise: Option<&'a Tensor>,
}

impl Step<'_> {
    fn noise(&self) -> Result<&Tensor, Error> {
        self.noise.ok_or_else(|| Error::InvalidInput(format!("step {} needs noise", self.index)))
    }
}

impl Scheduler {
    /// Sets up `algorithm` for `walk` with the parameters of `config`; fields that `config` lacks have the
    /// algorithm's own defaults, as with diffusers' `from_config`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the schedule has no such number of steps, or the model is not of the
    /// algorithm's kind (discrete-time or flow-matching). [`Error::Unsupported`] when `config` asks for a
    /// variant that is not implemented, or that has no result in diffusers either (a division by zero).
    pub fn new(config: &SchedulerConfig, algorithm: Algorithm, walk: &Walk) -> Result<Self, Error> {
        config.check_kind(algorithm)?;
        if algorithm == Algorithm::FlowMatchEuler {
            let (timesteps, flow) = FlowMatch::new(config, walk)?;
            return Ok(Self { timesteps, sampler: Sampler::FlowMatch(flow) });
        }
        let settings = Settings::new(config, algorithm)?;
        check_steps(walk.steps, settings.train_timesteps)?;
        let (settings, steps) = (&settings, walk.steps);
        let (timesteps, sampler) = match algorithm {
            Algorithm::Ddim => {
                Ddim::new(config, settings, steps).map(|(times, it)| (times, Sampler::Ddim(it)))?
            }
            Algorithm::Pndm => {
                Pndm::new(config, settings, steps).map(|(times, it)| (times, Sampler::Pndm(it)))?
            }
            Algorithm::Lcm => {
                Lcm::new(config, settings, steps).map(|(times, it)| (times, Sampler::Lcm(it)))?
            }
            Algorithm::EulerAncestral => {
                let (timesteps, it) = EulerAncestral::new(settings, steps);
                (timesteps, Sampler::EulerAncestral(it))
            }
            Algorithm::Dpmpp2m | Algorithm::Dpmpp2mKarras => {
                Dpm::new(config, settings, algorithm, steps).map(|(times, it)| (times, Sampler::Dpm(it)))?
            }
            Algorithm::Unipc => {
                UniPc::new(config, settings, steps).map(|(times, it)| (times, Sampler::UniPc(it)))?
            }
            Algorithm::Euler | Algorithm::FlowMatchEuler => {
                Euler::new(config, settings, steps).map(|(times, it)| (times, Sampler::Euler(it)))?
            }
        };
        Ok(Self { timesteps, sampler })
    }

    /// The timestep of each call of the model, from noise to picture. There may be more of them than steps
    /// were asked for (PNDM). Those of flow matching are noise levels times 1,000.
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// What standard normal noise is multiplied with before the first step.
    pub fn init_noise_sigma(&self) -> f64 {
        match &self.sampler {
            Sampler::Euler(euler) => euler.init_noise_sigma(),
            Sampler::EulerAncestral(euler) => euler.init_noise_sigma(),
            _ => 1.0,
        }
    }

    /// What the model is shown in step `index`, from f32 latents.
    ///
    /// # Errors
    /// When the device fails.
    pub fn scale_model_input(&self, index: usize, latents: &Tensor) -> Result<Tensor, Error> {
        match &self.sampler {
            Sampler::Euler(euler) => euler.scale_model_input(index, latents),
            Sampler::EulerAncestral(euler) => euler.scale_model_input(index, latents),
            _ => Ok(latents.clone()),
        }
    }

    /// Whether step `index` adds fresh noise.
    pub fn needs_noise(&self, index: usize) -> bool {
        match &self.sampler {
            Sampler::EulerAncestral(euler) => euler.needs_noise(index),
            Sampler::Lcm(lcm) => lcm.needs_noise(index),
            Sampler::Dpm(dpm) => dpm.needs_noise(index),
            Sampler::FlowMatch(flow) => flow.needs_noise(index),
            Sampler::Ddim(_) | Sampler::Euler(_) | Sampler::Pndm(_) | Sampler::UniPc(_) => false,
        }
    }

    /// The latents after step `index`, from the f32 latents before it and the model's f32 output. `noise` is
    /// standard normal, f32, of the shape of the latents; only looked at where [`Self::needs_noise`] says so.
    ///
    /// Steps must be taken in order: multistep samplers remember earlier outputs.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when noise is needed and missing; else when the device fails.
    pub fn step(
        &mut self,
        index: usize,
        output: &Tensor,
        latents: &Tensor,
        noise: Option<&Tensor>,
    ) -> Result<Tensor, Error> {
        let step = Step { index, output, latents, noise };
        match &mut self.sampler {
            Sampler::Ddim(ddim) => ddim.step(&step),
            Sampler::Dpm(dpm) => dpm.step(&step),
            Sampler::Euler(euler) => euler.step(&step),
            Sampler::EulerAncestral(euler) => euler.step(&step),
            Sampler::FlowMatch(flow) => flow.step(&step),
            Sampler::Lcm(lcm) => lcm.step(&step),
            Sampler::Pndm(pndm) => pndm.step(&step),
            Sampler::UniPc(unipc) => unipc.step(&step),
        }
    }
}

fn check_steps(steps: usize, most: usize) -> Result<(), Error> {
    if (1..=most).contains(&steps) {
        return Ok(());
    }
    Err(Error::InvalidInput(format!("steps must be 1 to {most} for this model, not {steps}")))
}

/// The error for a multistep sampler that has not seen the step before.
fn out_of_order() -> Error {
    Error::Device("the steps of a multistep scheduler were not taken in order".into())
}

/// The sum of `weight · tensor`.
fn weighted(terms: &[(f64, &Tensor)]) -> Result<Tensor, Error> {
    let [(weight, tensor), rest @ ..] = terms else { return Err(out_of_order()) };
    let mut sum = tensor.affine(*weight, 0.0)?;
    for (weight, tensor) in rest {
        sum = (sum + tensor.affine(*weight, 0.0)?)?;
    }
    Ok(sum)
}

/// `tensor / divisor`, rounded once.
fn divided(tensor: &Tensor, divisor: f64) -> Result<Tensor, Error> {
    Ok(tensor.broadcast_div(&Tensor::new(divisor as f32, tensor.device())?)?)
}
