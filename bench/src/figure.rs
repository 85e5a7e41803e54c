//! What a benchmark says: a quantity, what it is compared with, and what was to be reached.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::samples::Samples;

/// A measured quantity.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Samples,
    /// What it is compared with, by the name of that.
    pub(crate) reference: Option<(String, Samples)>,
    pub(crate) target: Option<Target>,
}

/// What was to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// Our median over that of the reference is at least this.
    RatioAtLeast(f64),
    /// Our median over that of the reference is at most this.
    RatioAtMost(f64),
    /// Our median is at most this.
    AtMost(f64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(bound) => write!(f, "≥ {bound} ×"),
            Self::RatioAtMost(bound) => write!(f, "≤ {bound} ×"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

impl Target {
    fn is_met(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::RatioAtLeast(bound) => ratio.is_some_and(|ratio| ratio >= bound),
            Self::RatioAtMost(bound) => ratio.is_some_and(|ratio| ratio <= bound),
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// A figure as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Median.
    pub(crate) value: f64,
    /// The smallest and the largest measurement.
    pub(crate) spread: [f64; 2],
    pub(crate) unit: String,
    /// What it is compared with.
    pub(crate) reference: Option<String>,
    /// Median.
    pub(crate) reference_value: Option<f64>,
    pub(crate) reference_spread: Option<[f64; 2]>,
    /// `value` over `reference_value`.
    pub(crate) ratio: Option<f64>,
    /// A bound with × is one of the ratio, else of the value.
    pub(crate) target: Option<String>,
    pub(crate) met: Option<bool>,
}

impl From<&Figure> for Row {
    fn from(figure: &Figure) -> Self {
        let value = figure.ours.median();
        let reference = figure.reference.as_ref();
        let reference_value = reference.map(|(_, samples)| samples.median());
        let ratio = reference_value.map(|reference| value / reference);
        Self {
            name: figure.name.clone(),
            value,
            spread: figure.ours.spread(),
            unit: figure.unit.to_owned(),
            reference: reference.map(|(name, _)| name.clone()),
            reference_value,
            reference_spread: reference.map(|(_, samples)| samples.spread()),
            ratio,
            target: figure.target.map(|target| target.to_string()),
            met: figure.target.map(|target| target.is_met(value, ratio)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, reference: Option<f64>, target: Target) -> Row {
        let reference = reference.map(|value| ("other".to_owned(), Samples::new(vec![value])));
        let ours = Samples::new(vec![ours]);
        Row::from(&Figure { name: "a".to_owned(), unit: "s", ours, reference, target: Some(target) })
    }

    #[test]
    fn targets_bound_the_ratio_or_the_value() {
        assert_eq!(row(3.0, Some(2.0), Target::RatioAtMost(1.5)).met, Some(true));
        assert_eq!(row(3.1, Some(2.0), Target::RatioAtMost(1.5)).met, Some(false));
        assert_eq!(row(3.0, Some(2.0), Target::RatioAtLeast(1.6)).met, Some(false));
        assert_eq!(row(3.0, None, Target::AtMost(2.0)).met, Some(false));
        assert_eq!(row(2.0, None, Target::AtMost(2.0)).met, Some(true));
    }

    #[test]
    fn ratio_without_a_reference_is_not_met() {
        let row = row(3.0, None, Target::RatioAtMost(9.0));
        assert_eq!((row.ratio, row.met), (None, Some(false)));
    }
}
