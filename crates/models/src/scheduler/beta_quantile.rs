//! Quantiles of the symmetric beta distribution.

/// The value below which a part `p` of the beta distribution with both parameters `shape` lies.
///
/// Found by halving: 64 times is the precision of f64 next to 1.
pub(super) fn quantile(p: f64, shape: f64) -> f64 {
    if p > 0.5 {
        return 1.0 - quantile(1.0 - p, shape);
    }
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        if below(middle, shape) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    if p <= 0.0 { 0.0 } else { high }
}

/// The part of the distribution below `x`, for `x` up to 0.5: the regularised incomplete beta function by its
/// power series, `x^a / B(a, a) · Σ (1 - a)_n xⁿ / (n! (a + n))`.
fn below(x: f64, shape: f64) -> f64 {
    let (mut sum, mut factor) = (0.0, 1.0);
    for n in 0..200 {
        let n = f64::from(n);
        let term = factor / (shape + n);
        sum += term;
        if term.abs() < sum * 1e-17 {
            break;
        }
        factor *= (n + 1.0 - shape) / (n + 1.0) * x;
    }
    let log_beta = 2.0 * libm::lgamma(shape) - libm::lgamma(2.0 * shape);
    sum * libm::exp(shape * libm::log(x) - log_beta)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: `scipy.stats.beta.ppf` of scipy 1.17.
    #[test]
    fn quantiles_are_those_of_the_reference() {
        let expected = [(0.0, 0.0), (0.3, 0.234_017_003_875_723_52), (0.5, 0.5), (1.0, 1.0)];
        for (p, expected) in expected {
            let found = quantile(p, 0.6);
            assert!((found - expected).abs() < 1e-12, "{p}: {found} instead of {expected}");
        }
        let symmetric = quantile(0.1, 0.6) + quantile(0.9, 0.6);
        assert!((symmetric - 1.0).abs() < 1e-14);
    }
}
