//! How much noise each training timestep has.

use super::{BetaSchedule, Settings};

/// The most noise one step of the cosine schedule may add.
const MAX_BETA: f64 = 0.999;

/// `ᾱ` of each training timestep: the part of the picture's variance that is left.
///
/// Rounded to f32 where the reference rounds: betas, alphas and the products are f32, the running product is
/// not.
pub(super) fn alphas_cumprod(settings: &Settings) -> Vec<f64> {
    let mut product = 1.0;
    betas(settings)
        .into_iter()
        .map(|beta| {
            product *= f64::from(1.0 - beta);
            f64::from(product as f32)
        })
        .collect()
}

fn betas(settings: &Settings) -> Vec<f32> {
    if let Some(betas) = &settings.trained_betas {
        return betas.iter().map(|beta| *beta as f32).collect();
    }
    let count = settings.train_timesteps;
    let (start, end) = (settings.beta_start, settings.beta_end);
    match settings.beta_schedule {
        BetaSchedule::Linear => linspace(start as f32, end as f32, count),
        BetaSchedule::ScaledLinear => linspace(start.sqrt() as f32, end.sqrt() as f32, count)
            .into_iter()
            .map(|root| root * root)
            .collect(),
        BetaSchedule::SquaredCosine => {
            let at = |index: usize| cosine_alpha_bar(index as f64 / count as f64);
            (0..count).map(|index| (1.0 - at(index + 1) / at(index)).min(MAX_BETA) as f32).collect()
        }
    }
}

/// `ᾱ(t)` for `t` in [0, 1] (Nichol and Dhariwal 2021).
fn cosine_alpha_bar(t: f64) -> f64 {
    libm::cos((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).powi(2)
}

/// As `torch.linspace` rounds: from both ends to the middle.
fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count == 1 {
        return vec![start];
    }
    let step = (end - start) / (count - 1) as f32;
    let value = |index: usize| {
        if index < count / 2 { start + step * index as f32 } else { end - step * (count - 1 - index) as f32 }
    };
    (0..count).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::{Algorithm, SchedulerConfig};
    use super::*;

    fn ends(schedule: &str) -> [f64; 3] {
        let json = format!(
            r#"{{"_class_name": "x", "beta_schedule": "{schedule}", "beta_start": 0.00085, "beta_end": 0.012}}"#
        );
        let config: SchedulerConfig = serde_json::from_str(&json).unwrap();
        let alphas = alphas_cumprod(&config.resolve(Algorithm::Ddim).unwrap());
        [alphas[0], alphas[500], alphas[999]]
    }

    /// Expected values: diffusers 0.42.
    #[test]
    fn schedules_are_those_of_the_reference() {
        let expected = [
            ("linear", [0.999_149_978, 0.160_771_623, 0.001_578_962_7]),
            ("scaled_linear", [0.999_149_978, 0.276_332_468, 0.004_660_095_1]),
            ("squaredcos_cap_v2", [0.999_958_694, 0.492_285_043, 2.428_735e-9]),
        ];
        for (schedule, expected) in expected {
            for (found, expected) in ends(schedule).into_iter().zip(expected) {
                let difference = (found - expected).abs() / expected;
                assert!(difference < 1e-6, "{schedule}: {found} instead of {expected}");
            }
        }
    }
}
