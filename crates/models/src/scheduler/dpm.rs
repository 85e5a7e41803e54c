//! DPM-Solver++ (Lu et al. 2022), multistep, of order 1 to 3, with or without fresh noise; diffusers
//! `DPMSolverMultistepScheduler`.

use candle_core::Tensor;

use super::config::{FinalSigma, SchedulerConfig, SolverType, refuse};
use super::levels::Levels;
use super::prediction::Mix;
use super::settings::Settings;
use super::{Algorithm, Step, out_of_order, weighted};
use crate::error::Error;

/// Walks shorter than this end in steps of lower order.
const FEW_STEPS: usize = 15;

#[derive(Debug, Clone)]
pub(super) struct Dpm {
    levels: Levels,
    order: usize,
    solver: SolverType,
    /// Whether it solves the stochastic equation.
    stochastic: bool,
    lower_order_final: bool,
    euler_at_final: bool,
    /// Predicted noiseless latents of earlier steps, the newest last.
    originals: Vec<Tensor>,
}

impl Dpm {
    pub(super) fn new(
        config: &SchedulerConfig,
        settings: &Settings,
        algorithm: Algorithm,
        steps: usize,
    ) -> Result<(Vec<f32>, Self), Error> {
        let algorithm_type = config.algorithm_type.as_deref().unwrap_or("dpmsolver++");
        let stochastic = algorithm_type == "sde-dpmsolver++";
        let order = config.solver_order.unwrap_or(2);
        let learned = matches!(config.variance_type.as_deref(), Some("learned" | "learned_range"));
        refuse(&[
            (&format!("algorithm_type {algorithm_type}"), algorithm_type != "dpmsolver++" && !stochastic),
            (&format!("solver_order {order}"), !(1..=3).contains(&order)),
            ("thresholding", config.thresholding == Some(true)),
            ("variance_type", learned),
        ])?;
        let (timesteps, levels) = Levels::new(config, settings, algorithm, steps)?;
        let zero = config.final_sigmas_type.unwrap_or_default() == FinalSigma::Zero;
        let dpm = Self {
            levels,
            order,
            // Other solvers' types stand for the usual one.
            solver: config
                .solver_type
                .filter(|solver| *solver == SolverType::Heun)
                .unwrap_or(SolverType::Midpoint),
            stochastic,
            lower_order_final: config.lower_order_final.unwrap_or(true),
            euler_at_final: config.euler_at_final.unwrap_or(false) || zero,
            originals: Vec::with_capacity(order),
        };
        Ok((timesteps, dpm))
    }

    pub(super) fn needs_noise(&self, index: usize) -> bool {
        self.stochastic && self.levels.sigma(index + 1) > 0.0
    }

    pub(super) fn step(&mut self, step: &Step<'_>) -> Result<Tensor, Error> {
        let original = self.levels.original(step)?;
        if step.index == 0 {
            self.originals.clear();
        }
        if self.originals.len() == self.order {
            self.originals.remove(0);
        }
        self.originals.push(original);
        let order = self.order_of(step.index);
        if self.originals.len() < order {
            return Err(out_of_order());
        }
        let change = Change::new(&self.levels, step.index, self.stochastic);
        let weights = self.weights(order, step.index, &change);
        let mut terms = vec![(change.latents, step.latents)];
        terms.extend(weights.into_iter().zip(self.originals.iter().rev()));
        if self.needs_noise(step.index) {
            terms.push((change.noise, step.noise()?));
        }
        weighted(&terms)
    }

    /// Multistep methods begin with lower orders, and end with them where that is steadier.
    fn order_of(&self, index: usize) -> usize {
        let steps = self.levels.steps();
        let lower = self.lower_order_final && steps < FEW_STEPS;
        let most = match steps - index {
            1 if self.euler_at_final || lower => 1,
            2 if lower => 2,
            _ => self.order,
        };
        most.min(self.order).min(index + 1)
    }

    /// Weights of the newest predictions, newest first.
    fn weights(&self, order: usize, index: usize, change: &Change) -> Vec<f64> {
        let Change { step, h, signal, growth, .. } = *change;
        let zeroth = -signal * growth;
        if order == 1 {
            return vec![zeroth];
        }
        let first = match (self.solver, order) {
            (SolverType::Heun, _) | (_, 3) => signal * (growth / h + 1.0),
            _ => -0.5 * signal * growth,
        };
        let lambda = |back: usize| self.levels.lambda(index - back);
        let r0 = (lambda(0) - lambda(1)) / step;
        if order == 2 {
            return vec![zeroth + first / r0, -first / r0];
        }
        // The reference has the sign of the half the other way round for the stochastic equation.
        let half = if self.stochastic { -0.5 } else { 0.5 };
        let second = -signal * ((growth + h) / (h * h) - half);
        let r1 = (lambda(1) - lambda(2)) / step;
        // D1 = near + r0 / (r0 + r1) · (near - far), D2 = (near - far) / (r0 + r1), where near and far are
        // the divided differences.
        let near = first + (first * r0 + second) / (r0 + r1);
        let far = -(first * r0 + second) / (r0 + r1);
        vec![zeroth + near / r0, -near / r0 + far / r1, -far / r1]
    }
}

/// What one step does to latents.
#[derive(Clone, Copy)]
struct Change {
    /// The difference of log-SNR, and that of the equation solved: twice as much with fresh noise.
    step: f64,
    h: f64,
    /// The signal afterwards.
    signal: f64,
    /// `e^-h - 1`
    growth: f64,
    /// Weights of the latents and of fresh noise.
    latents: f64,
    noise: f64,
}

impl Change {
    fn new(levels: &Levels, index: usize, stochastic: bool) -> Self {
        let (before, after): (Mix, Mix) = (levels.mix(index), levels.mix(index + 1));
        let step = levels.lambda(index + 1) - levels.lambda(index);
        let h = if stochastic { 2.0 * step } else { step };
        let growth = libm::expm1(-h);
        let fading = if stochastic { libm::exp(-step) } else { 1.0 };
        Self {
            step,
            h,
            signal: after.signal,
            growth,
            latents: after.noise / before.noise * fading,
            noise: after.noise * (-growth).max(0.0).sqrt(),
        }
    }
}
