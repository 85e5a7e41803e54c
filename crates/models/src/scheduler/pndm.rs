//! PNDM (Liu et al. 2022): a linear multistep method of up to fourth order, which either starts with three
//! Runge-Kutta steps or grows its order; diffusers `PNDMScheduler`.

use candle_core::Tensor;

use super::config::{PredictionType, SchedulerConfig};
use super::settings::Settings;
use super::{Step, out_of_order, timesteps, weighted};
use crate::error::Error;

/// Earlier outputs that the highest order combines with the newest one.
const MEMORY: usize = 3;

/// Steps that Runge and Kutta's method takes, with four calls each.
const RUNGE_KUTTA_STEPS: usize = 3;

#[derive(Debug, Clone)]
pub(super) struct Pndm {
    calls: Vec<Call>,
    velocity: bool,
    /// Model outputs of earlier steps, the newest last.
    outputs: Vec<Tensor>,
    /// The latents from which a step of several calls starts.
    start: Option<Tensor>,
    /// The outputs of a Runge-Kutta step so far, weighted.
    sum: Option<Tensor>,
}

/// One call of the model.
#[derive(Debug, Clone)]
struct Call {
    kind: Kind,
    /// `ᾱ` before and after.
    alpha: f64,
    after: f64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The first to fourth of a Runge-Kutta step.
    First,
    Middle,
    Last,
    /// The first of a walk without Runge-Kutta steps, taken twice: the second time with the mean slope of
    /// both its ends.
    Plain,
    Correction,
    Multistep,
}

impl Pndm {
    pub(super) fn new(
        config: &SchedulerConfig,
        settings: &Settings,
        steps: usize,
    ) -> Result<(Vec<f32>, Self), Error> {
        let indices = timesteps::indices(settings, steps)?;
        let plan = if config.skip_prk_steps == Some(true) {
            multistep_plan(&indices, settings.train_timesteps / steps)
        } else {
            runge_kutta_plan(&indices, settings.train_timesteps / steps)?
        };
        let last = settings.last_alpha(config.set_alpha_to_one, false);
        let alpha = |index: usize| settings.alphas_cumprod[index.min(settings.train_timesteps - 1)];
        let call = |plan: &Plan| Call {
            kind: plan.kind,
            alpha: alpha(plan.from),
            after: plan.to.map_or(last, alpha),
        };
        let pndm = Self {
            calls: plan.iter().map(call).collect(),
            velocity: settings.prediction_type == PredictionType::VPrediction,
            outputs: Vec::with_capacity(MEMORY + 1),
            start: None,
            sum: None,
        };
        Ok((plan.iter().map(|plan| plan.timestep as f32).collect(), pndm))
    }

    pub(super) fn step(&mut self, step: &Step<'_>) -> Result<Tensor, Error> {
        if step.index == 0 {
            self.outputs.clear();
        }
        let call = self.calls[step.index].clone();
        match call.kind {
            Kind::First | Kind::Plain => {
                self.remember(step.output);
                self.start = Some(step.latents.clone());
                self.sum = Some(step.output.affine(1.0 / 6.0, 0.0)?);
                self.transfer(&call, step.output, step.latents)
            }
            Kind::Middle => {
                let (start, sum) = self.begun()?;
                let sum = weighted(&[(1.0, &sum), (1.0 / 3.0, step.output)])?;
                self.sum = Some(sum);
                self.transfer(&call, step.output, &start)
            }
            Kind::Last => {
                let (start, sum) = self.begun()?;
                let slope = weighted(&[(1.0, &sum), (1.0 / 6.0, step.output)])?;
                self.transfer(&call, &slope, &start)
            }
            Kind::Correction => {
                let (start, _) = self.begun()?;
                let first = self.outputs.last().ok_or_else(out_of_order)?;
                let mean = weighted(&[(0.5, step.output), (0.5, first)])?;
                self.transfer(&call, &mean, &start)
            }
            Kind::Multistep => {
                self.remember(step.output);
                let slope = self.slope()?;
                self.transfer(&call, &slope, step.latents)
            }
        }
    }

    /// The latents and the sum of the step begun.
    fn begun(&self) -> Result<(Tensor, Tensor), Error> {
        self.start.clone().zip(self.sum.clone()).ok_or_else(out_of_order)
    }

    fn remember(&mut self, output: &Tensor) {
        if self.outputs.len() > MEMORY {
            self.outputs.remove(0);
        }
        self.outputs.push(output.clone());
    }

    /// Adams and Bashforth's combination of the outputs remembered.
    fn slope(&self) -> Result<Tensor, Error> {
        let weights: &[f64] = match self.outputs.len() {
            0 | 1 => &[1.0],
            2 => &[-1.0 / 2.0, 3.0 / 2.0],
            3 => &[5.0 / 12.0, -16.0 / 12.0, 23.0 / 12.0],
            _ => &[-9.0 / 24.0, 37.0 / 24.0, -59.0 / 24.0, 55.0 / 24.0],
        };
        weighted(&weights.iter().copied().zip(&self.outputs).collect::<Vec<_>>())
    }

    /// Formula 9 of the paper.
    fn transfer(&self, call: &Call, output: &Tensor, latents: &Tensor) -> Result<Tensor, Error> {
        let &Call { alpha, after, .. } = call;
        let (beta, beta_after) = (1.0 - alpha, 1.0 - after);
        let epsilon = if self.velocity {
            weighted(&[(alpha.sqrt(), output), (beta.sqrt(), latents)])?
        } else {
            output.clone()
        };
        let denominator = alpha * beta_after.sqrt() + (alpha * beta * after).sqrt();
        weighted(&[((after / alpha).sqrt(), latents), (-(after - alpha) / denominator, &epsilon)])
    }
}

/// A call in training timesteps.
struct Plan {
    kind: Kind,
    /// What the model is told.
    timestep: usize,
    from: usize,
    /// None for the end of the walk.
    to: Option<usize>,
}

fn multistep(index: usize, ratio: usize) -> Plan {
    Plan { kind: Kind::Multistep, timestep: index, from: index, to: index.checked_sub(ratio) }
}

/// Steps of growing order between `indices`, `ratio` wide.
fn multistep_plan(indices: &[usize], ratio: usize) -> Vec<Plan> {
    let mut plan = indices.iter().map(|index| multistep(*index, ratio)).collect::<Vec<_>>();
    plan[0].kind = Kind::Plain;
    if let Some(second) = indices.get(1).copied() {
        plan.insert(
            1,
            Plan { kind: Kind::Correction, timestep: second, from: second + ratio, to: Some(second) },
        );
        // The second timestep is visited twice: to correct the first step, and to start the second one.
    }
    plan
}

/// Three Runge-Kutta steps, then steps of fourth order.
fn runge_kutta_plan(indices: &[usize], ratio: usize) -> Result<Vec<Plan>, Error> {
    if indices.len() <= RUNGE_KUTTA_STEPS {
        return Err(Error::InvalidInput(format!(
            "steps must be at least {} for this model with scheduler pndm, not {}",
            RUNGE_KUTTA_STEPS + 1,
            indices.len()
        )));
    }
    let half = ratio / 2;
    let mut plan = Vec::with_capacity(indices.len() + 3 * RUNGE_KUTTA_STEPS);
    for ends in indices.windows(2).take(RUNGE_KUTTA_STEPS) {
        let (start, end) = (ends[0], ends[1]);
        let mut call = |kind, timestep, to| plan.push(Plan { kind, timestep, from: start, to });
        call(Kind::First, start, start.checked_sub(half));
        call(Kind::Middle, end + half, Some(end + half));
        call(Kind::Middle, end + half, Some(end));
        call(Kind::Last, end, Some(end));
    }
    plan.extend(indices[RUNGE_KUTTA_STEPS..].iter().map(|index| multistep(*index, ratio)));
    Ok(plan)
}
