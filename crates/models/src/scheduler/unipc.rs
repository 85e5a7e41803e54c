//! UniPC (Zhao et al. 2023) of order 1 to 3; diffusers `UniPCMultistepScheduler`.
//!
//! Each call of the model first corrects the step before with what it found there, then predicts the next.

use candle_core::Tensor;

use super::config::{PredictionType, SchedulerConfig, SolverType, refuse};
use super::levels::Levels;
use super::settings::Settings;
use super::{Algorithm, Step, out_of_order, weighted};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct UniPc {
    levels: Levels,
    order: usize,
    /// Whether it solves for noiseless latents rather than for noise.
    predict_original: bool,
    /// `B(h) = h` in place of `e^h - 1`.
    bh1: bool,
    lower_order_final: bool,
    /// Steps that are not corrected.
    uncorrected: Vec<usize>,
    /// Predictions of earlier steps, the newest last.
    predictions: Vec<Tensor>,
    /// The latents before the step before, corrected, and that step's order.
    before: Option<(Tensor, usize)>,
}

/// From the level `from` to the level `to`, with a prediction at `from` and earlier ones.
struct Stride {
    from: usize,
    to: usize,
    order: usize,
}

impl UniPc {
    pub(super) fn new(
        config: &SchedulerConfig,
        settings: &Settings,
        steps: usize,
    ) -> Result<(Vec<f32>, Self), Error> {
        let order = config.solver_order.unwrap_or(2);
        let predict_original = config.predict_x0.unwrap_or(true);
        let flow = settings.prediction_type == PredictionType::FlowPrediction;
        refuse(&[
            (&format!("solver_order {order}"), !(1..=3).contains(&order)),
            ("thresholding", config.thresholding == Some(true)),
            ("solver_p", config.solver_p.as_ref().is_some_and(|solver| !solver.is_null())),
            ("shift_terminal", config.shift_terminal.is_some()),
            ("predict_x0 false with flow_prediction", flow && !predict_original),
        ])?;
        let (timesteps, levels) = Levels::new(config, settings, Algorithm::Unipc, steps)?;
        let unipc = Self {
            levels,
            order,
            predict_original,
            // Other solvers' types stand for the usual one.
            bh1: config.solver_type == Some(SolverType::Bh1),
            lower_order_final: config.lower_order_final.unwrap_or(true),
            uncorrected: config.disable_corrector.clone().unwrap_or_default(),
            predictions: Vec::with_capacity(order),
            before: None,
        };
        unipc.check_last_step()?;
        Ok((timesteps, unipc))
    }

    /// Refuses what has no result in the reference: a last step that divides by zero or by infinity.
    fn check_last_step(&self) -> Result<(), Error> {
        let steps = self.levels.steps();
        let (last, end) = (self.levels.sigma(steps - 1), self.levels.sigma(steps));
        let high_order = self.order_of(steps - 1) > 1;
        refuse(&[
            ("solver_type bh1 with final_sigmas_type zero", end == 0.0 && self.bh1),
            ("predict_x0 false with final_sigmas_type zero", end == 0.0 && !self.predict_original),
            ("lower_order_final false with final_sigmas_type zero", end == 0.0 && high_order),
            ("lower_order_final false with final_sigmas_type sigma_min", end == last && high_order),
        ])
    }

    pub(super) fn step(&mut self, step: &Step<'_>) -> Result<Tensor, Error> {
        if step.index == 0 {
            self.predictions.clear();
            self.before = None;
        }
        let prediction =
            if self.predict_original { self.levels.original(step)? } else { self.levels.epsilon(step)? };
        let latents = self.corrected(step, &prediction)?;
        if self.predictions.len() == self.order {
            self.predictions.remove(0);
        }
        self.predictions.push(prediction);
        let order = self.order_of(step.index);
        let stride = Stride { from: step.index, to: step.index + 1, order };
        let next = self.solve(&stride, &latents, None)?;
        self.before = Some((latents, order));
        Ok(next)
    }

    /// The latents of `step`, corrected with its prediction.
    fn corrected(&self, step: &Step<'_>, prediction: &Tensor) -> Result<Tensor, Error> {
        match &self.before {
            Some((before, order)) if !self.uncorrected.contains(&(step.index - 1)) => {
                let stride = Stride { from: step.index - 1, to: step.index, order: *order };
                self.solve(&stride, before, Some(prediction))
            }
            _ => Ok(step.latents.clone()),
        }
    }

    /// The order grows at the beginning of a walk and falls at its end.
    fn order_of(&self, index: usize) -> usize {
        let most = if self.lower_order_final { self.levels.steps() - index } else { self.order };
        most.min(self.order).min(index + 1)
    }

    /// The latents after `stride`, from those before it. With the prediction `found` there it is the corrector,
    /// else the predictor.
    fn solve(&self, stride: &Stride, latents: &Tensor, found: Option<&Tensor>) -> Result<Tensor, Error> {
        let Stride { from, to, order } = *stride;
        if self.predictions.len() < order {
            return Err(out_of_order());
        }
        let start = self.levels.lambda(from);
        let h = self.levels.lambda(to) - start;
        let (before, after) = (self.levels.mix(from), self.levels.mix(to));
        let (hh, lead, scale) = if self.predict_original {
            (-h, after.noise / before.noise, after.signal)
        } else {
            (h, after.signal / before.signal, after.noise)
        };
        let growth = libm::expm1(hh);
        let b = if self.bh1 { hh } else { growth };
        // Where the earlier predictions are, in units of h.
        let mut places =
            (1..order).map(|back| (self.levels.lambda(from - back) - start) / h).collect::<Vec<_>>();
        let weights = match found {
            None => predictor_weights(&places, hh, b),
            Some(_) => {
                places.push(1.0);
                corrector_weights(&places, hh, b)
            }
        };
        // Differences to the prediction at `from`: of the earlier ones, and of the one found.
        let newest = self.predictions.len() - 1;
        let others = (1..order).map(|back| &self.predictions[newest - back]).chain(found);
        let mut terms = vec![(lead, latents), (0.0, &self.predictions[newest])];
        let mut centre = -scale * growth;
        for ((other, place), weight) in others.zip(&places).zip(weights) {
            let weight = -scale * b * weight / place;
            centre -= weight;
            terms.push((weight, other));
        }
        terms[1].0 = centre;
        weighted(&terms)
    }
}

fn predictor_weights(places: &[f64], hh: f64, b: f64) -> Vec<f64> {
    match places.len() {
        0 => vec![],
        1 => vec![0.5],
        _ => solve(powers(places), moments(places.len(), hh, b)),
    }
}

fn corrector_weights(places: &[f64], hh: f64, b: f64) -> Vec<f64> {
    match places.len() {
        1 => vec![0.5],
        _ => solve(powers(places), moments(places.len(), hh, b)),
    }
}

/// Row `i` has the `i`th powers of `places`.
fn powers(places: &[f64]) -> Vec<Vec<f64>> {
    let row = |exponent: usize| places.iter().map(|place| place.powi(exponent as i32)).collect();
    (0..places.len()).map(row).collect()
}

/// What the weighted powers must sum up to: `φ_i(h) · h · i! / B(h)` of the paper.
fn moments(count: usize, hh: f64, b: f64) -> Vec<f64> {
    let mut phi = libm::expm1(hh) / hh - 1.0;
    let mut factorial = 1.0;
    let mut moments = Vec::with_capacity(count);
    for i in 1..=count {
        moments.push(phi * factorial / b);
        factorial *= (i + 1) as f64;
        phi = phi / hh - 1.0 / factorial;
    }
    moments
}

/// Solves a small system of linear equations by elimination, largest pivot first.
fn solve(mut rows: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()));
        let pivot = pivot.unwrap_or(column);
        rows.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..n {
            let factor = rows[row][column] / rows[column][column];
            let pivot = rows[column].clone();
            for (value, pivot) in rows[row].iter_mut().zip(pivot) {
                *value -= factor * pivot;
            }
            right[row] -= factor * right[column];
        }
    }
    for row in (0..n).rev() {
        let known = (row + 1..n).map(|k| rows[row][k] * right[k]).sum::<f64>();
        right[row] = (right[row] - known) / rows[row][row];
    }
    right
}
