//! Which training timesteps a walk of `n` steps visits.
//!
//! Follows numpy's arithmetic, whose rounding decides which timestep is meant: `round` goes to the even
//! neighbour. Where floating point makes numpy's `arange` one element longer than `n` (first at 61 trailing
//! steps) the element too many is left out: it is timestep -1, which diffusers looks up from the wrong end.

use super::config::TimestepSpacing;
use super::settings::Settings;
use crate::error::Error;

/// The timesteps, not yet rounded to what an algorithm wants, in descending order.
pub(super) fn spaced(settings: &Settings, n: usize) -> Vec<f64> {
    let train = settings.train_timesteps;
    match settings.spacing {
        TimestepSpacing::Linspace => {
            let mut timesteps = linspace(0.0, (train - 1) as f64, n);
            timesteps.reverse();
            timesteps
        }
        TimestepSpacing::Leading => {
            let ratio = train / n;
            (0..n).rev().map(|index| (index * ratio + settings.steps_offset) as f64).collect()
        }
        TimestepSpacing::Trailing => trailing(train, train, n),
    }
}

/// As [`spaced`], as indices into the training schedule.
///
/// # Errors
/// [`Error::InvalidInput`] when one of them is beyond the schedule (`leading` with an offset and the most
/// steps).
pub(super) fn indices(settings: &Settings, n: usize) -> Result<Vec<usize>, Error> {
    checked(settings, n, &spaced(settings, n))
}

/// The indices of the solvers in log-SNR, which leave out the schedule's noiseless end: those of `n + 1` steps
/// without the last one. Only the first `end` training timesteps are visited.
///
/// # Errors
/// As [`indices`].
pub(super) fn inner_indices(settings: &Settings, n: usize, end: usize) -> Result<Vec<usize>, Error> {
    let timesteps = match settings.spacing {
        TimestepSpacing::Linspace => {
            linspace(0.0, (end - 1) as f64, n + 1).into_iter().skip(1).rev().collect()
        }
        TimestepSpacing::Leading => {
            let ratio = end / (n + 1);
            if ratio == 0 {
                return Err(too_many(n));
            }
            (1..=n).rev().map(|index| (index * ratio + settings.steps_offset) as f64).collect()
        }
        TimestepSpacing::Trailing => trailing(settings.train_timesteps, end, n),
    };
    checked(settings, n, &timesteps)
}

fn trailing(train: usize, end: usize, n: usize) -> Vec<f64> {
    let start = end as f64;
    let step = train as f64 / n as f64;
    // `arange` takes its increment from its first two elements.
    let increment = (start - step) - start;
    let count = ((start / step).ceil() as usize).min(n);
    (0..count).map(|index| (start + index as f64 * increment).round_ties_even() - 1.0).collect()
}

fn checked(settings: &Settings, n: usize, timesteps: &[f64]) -> Result<Vec<usize>, Error> {
    let indices = timesteps.iter().map(|t| t.round_ties_even() as usize).collect::<Vec<_>>();
    if indices.iter().any(|index| *index >= settings.train_timesteps) {
        return Err(too_many(n));
    }
    Ok(indices)
}

fn too_many(n: usize) -> Error {
    Error::InvalidInput(format!("{n} steps are too many for this model's scheduler"))
}

/// As `numpy.linspace` rounds.
pub(super) fn linspace(start: f64, end: f64, count: usize) -> Vec<f64> {
    if count < 2 {
        return vec![start; count];
    }
    let step = (end - start) / (count - 1) as f64;
    let value = |index: usize| if index == count - 1 { end } else { index as f64 * step + start };
    (0..count).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::super::config::SchedulerConfig;
    use super::*;

    fn settings(spacing: &str) -> Settings {
        let json = format!(r#"{{"_class_name": "x", "timestep_spacing": "{spacing}", "steps_offset": 1}}"#);
        let config: SchedulerConfig = serde_json::from_str(&json).unwrap();
        Settings::new(&config, Algorithm::Ddim).unwrap()
    }

    /// Expected values: numpy 2.4.6 with the expressions of `DDIMScheduler.set_timesteps`.
    #[test]
    fn timesteps_are_those_of_the_reference() {
        let cases: [(&str, usize, &[usize]); 10] = [
            ("trailing", 1, &[999]),
            ("trailing", 4, &[999, 749, 499, 249]),
            (
                "trailing",
                28,
                &[
                    999, 963, 928, 892, 856, 820, 785, 749, 713, 678, 642, 606, 570, 535, 499, 463, 428, 392,
                    356, 320, 285, 249, 213, 178, 142, 106, 70, 35,
                ],
            ),
            (
                "trailing",
                16,
                &[999, 937, 874, 811, 749, 687, 624, 561, 499, 437, 374, 311, 249, 187, 124, 61],
            ),
            ("leading", 1, &[1]),
            ("leading", 4, &[751, 501, 251, 1]),
            ("leading", 7, &[853, 711, 569, 427, 285, 143, 1]),
            ("linspace", 1, &[0]),
            ("linspace", 4, &[999, 666, 333, 0]),
            ("linspace", 7, &[999, 832, 666, 500, 333, 166, 0]),
        ];
        for (spacing, n, expected) in cases {
            assert_eq!(indices(&settings(spacing), n).unwrap(), expected, "{spacing}, {n} steps");
        }
    }

    #[test]
    fn every_number_of_steps_gives_that_many_descending_timesteps() {
        for spacing in ["trailing", "leading", "linspace"] {
            for n in 1..1000 {
                let indices = indices(&settings(spacing), n).unwrap();
                assert_eq!(indices.len(), n, "{spacing}, {n} steps");
                assert!(indices.is_sorted_by(|a, b| a > b), "{spacing}, {n} steps");
            }
        }
    }

    #[test]
    fn steps_beyond_the_schedule_are_refused() {
        assert!(matches!(indices(&settings("leading"), 1000), Err(Error::InvalidInput(_))));
    }
}
