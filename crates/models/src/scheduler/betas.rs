//! How much noise each training timestep adds.
//!
//! Rounded to f32 where the reference rounds: betas, alphas and the products are f32, the running product is
//! not.

use super::config::BetaSchedule;

/// The most noise one step of the cosine schedule may add.
const MAX_BETA: f64 = 0.999;

/// The betas of `count` training timesteps.
pub(super) fn scheduled(schedule: BetaSchedule, start: f64, end: f64, count: usize) -> Vec<f32> {
    match schedule {
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

/// `ᾱ` of each training timestep: the part of the picture's variance that is left.
pub(super) fn alphas_cumprod(betas: &[f32]) -> Vec<f64> {
    let mut product = 1.0;
    let alpha = |beta: &f32| {
        product *= f64::from(1.0 - beta);
        f64::from(product as f32)
    };
    betas.iter().map(alpha).collect()
}

/// Betas shifted and scaled so that nothing of the picture is left at the last timestep (Lin et al. 2023,
/// algorithm 1).
pub(super) fn rescaled(betas: &[f32]) -> Vec<f32> {
    let roots = alphas_cumprod(betas).into_iter().map(|alpha| (alpha as f32).sqrt()).collect::<Vec<_>>();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let scale = first / (first - last);
    let alphas = roots.iter().map(|root| ((root - last) * scale).powi(2)).collect::<Vec<_>>();
    let ratio = |index: usize| if index == 0 { alphas[0] } else { alphas[index] / alphas[index - 1] };
    (0..alphas.len()).map(|index| 1.0 - ratio(index)).collect()
}

/// `ᾱ(t)` for `t` in [0, 1] (Nichol and Dhariwal 2021).
fn cosine_alpha_bar(t: f64) -> f64 {
    libm::cos((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).powi(2)
}

/// As `torch.linspace` rounds: from both ends to the middle.
pub(super) fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
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
    use super::*;

    fn ends(schedule: BetaSchedule) -> [f64; 3] {
        let alphas = alphas_cumprod(&scheduled(schedule, 0.00085, 0.012, 1000));
        [alphas[0], alphas[500], alphas[999]]
    }

    /// Expected values: diffusers 0.42.
    #[test]
    fn schedules_are_those_of_the_reference() {
        let expected = [
            (BetaSchedule::Linear, [0.999_149_978, 0.160_771_623, 0.001_578_962_7]),
            (BetaSchedule::ScaledLinear, [0.999_149_978, 0.276_332_468, 0.004_660_095_1]),
            (BetaSchedule::SquaredCosine, [0.999_958_694, 0.492_285_043, 2.428_735e-9]),
        ];
        for (schedule, expected) in expected {
            for (found, expected) in ends(schedule).into_iter().zip(expected) {
                let difference = (found - expected).abs() / expected;
                assert!(difference < 1e-6, "{schedule:?}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn rescaled_schedules_end_in_pure_noise() {
        let betas = scheduled(BetaSchedule::ScaledLinear, 0.00085, 0.012, 1000);
        let alphas = alphas_cumprod(&rescaled(&betas));
        assert!((alphas[0] - 0.999_149_978).abs() < 1e-6);
        assert_eq!(alphas[999], 0.0);
    }
}
