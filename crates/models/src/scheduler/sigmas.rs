//! Noise levels: the standard deviation of the noise relative to the picture.

use super::beta_quantile;
use super::config::{FinalSigma, SchedulerConfig, refuse};
use super::settings::Settings;
use super::timesteps::linspace;
use super::{Algorithm, betas};
use crate::error::Error;

/// `ᾱ` in place of the 0 of zero terminal SNR, so that the first noise level is finite: the smallest
/// subnormal number of f16.
const LEAST_ALPHA: f32 = 1.0 / (1 << 24) as f32;

/// How noise levels are spread between the largest and the least, in place of following the timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Karras et al. 2022, equation 5, with ρ = 7.
    Karras,
    /// Evenly in their logarithm.
    Exponential,
    /// By the quantiles of the beta distribution with α = β = 0.6 (Lee et al. 2024).
    Beta,
    /// Evenly in their logarithm between the ends of the training schedule (Lu et al. 2022).
    Lu,
}

impl Spread {
    /// The spread that `config` asks for.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it asks for several.
    pub(super) fn of(config: &SchedulerConfig, algorithm: Algorithm) -> Result<Option<Self>, Error> {
        if algorithm == Algorithm::Dpmpp2mKarras {
            return Ok(Some(Self::Karras));
        }
        let dpm = algorithm == Algorithm::Dpmpp2m;
        let asked = [
            (config.use_karras_sigmas == Some(true), Self::Karras),
            (config.use_lu_lambdas == Some(true) && dpm, Self::Lu),
            (config.use_exponential_sigmas == Some(true), Self::Exponential),
            (config.use_beta_sigmas == Some(true), Self::Beta),
        ];
        let mut asked = asked.into_iter().filter(|(set, _)| *set).map(|(_, spread)| spread);
        let first = asked.next();
        refuse(&[("several ways to spread sigmas", asked.next().is_some())])?;
        Ok(first)
    }

    /// `n` levels from `ends.0` down to `ends.1`.
    pub(super) fn levels(self, ends: (f64, f64), n: usize) -> Vec<f64> {
        let (max, min) = ends;
        match self {
            Self::Karras => {
                let root = |sigma: f64| libm::pow(sigma, 1.0 / 7.0);
                let (first, last) = (root(max), root(min));
                let level = |at: f64| libm::pow(first + at * (last - first), 7.0);
                linspace(0.0, 1.0, n).into_iter().map(level).collect()
            }
            Self::Exponential | Self::Lu => {
                linspace(libm::log(max), libm::log(min), n).into_iter().map(libm::exp).collect()
            }
            Self::Beta => {
                let level = |at: f64| min + beta_quantile::quantile(1.0 - at, 0.6) * (max - min);
                linspace(0.0, 1.0, n).into_iter().map(level).collect()
            }
        }
    }
}

/// The largest and the least noise level of a spread: those of `levels`, unless the file gives others.
pub(super) fn ends(config: &SchedulerConfig, algorithm: Algorithm, levels: &[f64]) -> (f64, f64) {
    // Fields of another algorithm's file that this one lacks are not taken over.
    let has_bounds = matches!(algorithm, Algorithm::Euler | Algorithm::Unipc);
    let bound = |field: Option<f64>| field.filter(|_| has_bounds || config.is_for(algorithm));
    let end = |level: Option<&f64>| level.copied().unwrap_or(0.0);
    (
        bound(config.sigma_max).unwrap_or_else(|| end(levels.first())),
        bound(config.sigma_min).unwrap_or_else(|| end(levels.last())),
    )
}

/// The level of each training timestep, rising; f32 values.
pub(super) fn training(settings: &Settings) -> Vec<f64> {
    let level = |alpha: &f64| {
        let alpha = if *alpha == 0.0 { LEAST_ALPHA } else { *alpha as f32 };
        f64::from(((1.0 - alpha) / alpha).sqrt())
    };
    settings.alphas_cumprod.iter().map(level).collect()
}

/// The level after the last step.
pub(super) fn last(config: &SchedulerConfig, training: &[f64]) -> f64 {
    match config.final_sigmas_type.unwrap_or_default() {
        FinalSigma::Zero => 0.0,
        FinalSigma::SigmaMin => training[0],
    }
}

/// The logarithms of levels, rounded to f32 as the reference has them.
pub(super) fn logarithms(levels: &[f64]) -> Vec<f64> {
    levels.iter().map(|sigma| f64::from(libm::log(*sigma) as f32)).collect()
}

/// `n` levels evenly in their logarithm from the largest down, in f32.
pub(super) fn log_linear(training: &[f64], n: usize) -> Vec<f64> {
    let logarithms = logarithms(training);
    betas::linspace(logarithms[logarithms.len() - 1] as f32, logarithms[0] as f32, n)
        .into_iter()
        .map(|logarithm| f64::from(libm::exp(f64::from(logarithm)) as f32))
        .collect()
}

/// As `numpy.interp` over `0, 1, 2, …`: linear between the values, the last value beyond them.
pub(super) fn interpolate(values: &[f64], at: f64) -> f64 {
    let below = (at.max(0.0) as usize).min(values.len() - 1);
    let above = (below + 1).min(values.len() - 1);
    (values[above] - values[below]) * (at - below as f64) + values[below]
}

/// The fractional training timestep of a level, between the two whose `logarithms` are around its own.
pub(super) fn timestep(sigma: f64, logarithms: &[f64]) -> f64 {
    let logarithm = libm::log(sigma.max(1e-10));
    let below = logarithms.partition_point(|other| *other <= logarithm).saturating_sub(1);
    let below = below.min(logarithms.len().saturating_sub(2));
    let above = (below + 1).min(logarithms.len() - 1);
    let distance = f64::from((logarithms[below] - logarithms[above]) as f32);
    let weight = ((logarithms[below] - logarithm) / distance).clamp(0.0, 1.0);
    (1.0 - weight) * below as f64 + weight * above as f64
}
