//! Repeated measurements of one quantity.

use anyhow::Result;

/// What was measured, at least once, in the order of the rounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// # Panics
    /// When there are none.
    pub(crate) fn new(values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "nothing was measured");
        Self(values)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The smallest and the largest.
    pub(crate) fn spread(&self) -> [f64; 2] {
        [self.quantile(0.0), self.quantile(1.0)]
    }

    /// Between the two nearest measurements, in proportion; `share` is in [0, 1].
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = share * (sorted.len() - 1) as f64;
        let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        below + (above - below) * place.fract()
    }
}

/// Measures two sides in turns, so that what disturbs the machine for a while disturbs both. Every other round
/// begins with the other side.
pub(crate) fn in_turns(
    rounds: u32,
    mut ours: impl FnMut() -> Result<f64>,
    mut reference: impl FnMut() -> Result<f64>,
) -> Result<(Samples, Samples)> {
    let mut values = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            values.0.push(ours()?);
            values.1.push(reference()?);
        } else {
            values.1.push(reference()?);
            values.0.push(ours()?);
        }
    }
    Ok((Samples::new(values.0), Samples::new(values.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_measurements() {
        let samples = Samples::new(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(samples.median(), 2.5);
        assert_eq!(samples.spread(), [1.0, 4.0]);
        assert_eq!(samples.quantile(1.0 / 3.0), 2.0);
        assert_eq!(Samples::new(vec![7.0]).quantile(0.99), 7.0);
    }

    #[test]
    fn sides_take_turns_at_being_first() {
        let order = std::cell::RefCell::new(String::new());
        let side = |name: char| {
            order.borrow_mut().push(name);
            Ok(1.0)
        };
        in_turns(3, || side('o'), || side('r')).unwrap();
        assert_eq!(*order.borrow(), "orroor");
    }
}
