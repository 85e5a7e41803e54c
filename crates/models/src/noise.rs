//! Noise: the same values on every machine.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// `count` independent values of a standard normal distribution, wholly decided by `seed`: a picture's noise
/// at the start.
///
/// Each seed has a stream of its own (the seed is the cipher's key), so a picture does not depend on the
/// pictures around it. The arithmetic is IEEE basic operations and `libm`, which round the same everywhere,
/// unlike the functions of the platform.
pub(crate) fn normal(seed: u64, count: usize) -> Vec<f32> {
    drawn(generator(seed), count)
}

/// As [`normal`], for the fresh noise of step `step` (from 0): another stream of the same key.
pub(crate) fn normal_of_step(seed: u64, step: usize, count: usize) -> Vec<f32> {
    let mut random = generator(seed);
    // Stream 0 is the start's.
    random.set_stream(step as u64 + 1);
    drawn(random, count)
}

fn generator(seed: u64) -> ChaCha20Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    ChaCha20Rng::from_seed(key)
}

fn drawn(mut random: ChaCha20Rng, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // Box and Muller: 1 - u is in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * libm::log(1.0 - unit(random.next_u64()))).sqrt();
        let angle = std::f64::consts::TAU * unit(random.next_u64());
        values.push((radius * libm::cos(angle)) as f32);
        values.push((radius * libm::sin(angle)) as f32);
    }
    values.truncate(count);
    values
}

/// 53 bits as a number in [0, 1).
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored pictures are promised to be reproducible: a change of these bits is a change of every picture.
    #[test]
    fn noise_has_the_same_bits_everywhere_and_for_ever() {
        let bits = |seed| normal(seed, 3).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(0), [1_060_248_470, 1_066_052_370, 1_034_309_015]);
        assert_eq!(bits((1 << 53) - 1), [1_038_954_704, 3_210_503_995, 3_213_246_073]);
    }

    #[test]
    fn noise_is_standard_normal() {
        let values = normal(7, 100_000);
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / 1e5;
        let variance = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / 1e5;
        let beyond_two = values.iter().filter(|value| value.abs() > 2.0).count();
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
        assert!((4_300..4_800).contains(&beyond_two), "{beyond_two} beyond 2");
    }

    #[test]
    fn neighbouring_seeds_are_unrelated() {
        let (a, b) = (normal(1, 10_000), normal(2, 10_000));
        let correlation = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum::<f64>() / 1e4;
        assert!(correlation.abs() < 0.05, "correlation {correlation}");
    }

    #[test]
    fn noise_of_each_step_is_unrelated() {
        let draws = [normal(1, 10_000), normal_of_step(1, 0, 10_000), normal_of_step(1, 1, 10_000)];
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let correlation =
                draws[a].iter().zip(&draws[b]).map(|(a, b)| f64::from(a * b)).sum::<f64>() / 1e4;
            assert!(correlation.abs() < 0.05, "correlation {correlation}");
        }
    }

    #[test]
    fn a_shorter_draw_is_the_beginning_of_a_longer_one() {
        assert_eq!(normal(3, 5), normal(3, 64)[..5]);
    }
}
