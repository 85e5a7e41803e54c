//! LoRAs of a request.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// LoRAs by id, each with the strength it is merged with. Sorted, so that equal requests are stored alike.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, f64>", into = "BTreeMap<String, f64>")]
pub struct Loras(BTreeMap<String, f64>);

impl Loras {
    /// The most LoRAs a request may name.
    pub const MAX: usize = 4;
    /// Strengths outside are mistakes: what is trained for 1 falls apart long before.
    pub const STRENGTHS: RangeInclusive<f64> = -10.0..=10.0;

    /// Checks how many there are, and each strength.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn new(strengths: BTreeMap<String, f64>) -> Result<Self, LorasError> {
        if strengths.len() > Self::MAX {
            return Err(LorasError::TooMany);
        }
        // No range contains NaN.
        match strengths.iter().find(|(_, strength)| !Self::STRENGTHS.contains(*strength)) {
            Some((id, _)) => Err(LorasError::Strength { id: id.clone() }),
            None => Ok(Self(strengths)),
        }
    }

    /// Id and strength of each, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(id, strength)| (id.as_str(), *strength))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, f64>> for Loras {
    type Error = LorasError;

    fn try_from(strengths: BTreeMap<String, f64>) -> Result<Self, Self::Error> {
        Self::new(strengths)
    }
}

impl From<Loras> for BTreeMap<String, f64> {
    fn from(loras: Loras) -> Self {
        loras.0
    }
}

/// Why these are no LoRAs of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LorasError {
    /// Over [`Loras::MAX`].
    #[error("expected at most {} LoRAs", Loras::MAX)]
    TooMany,
    /// Not in [`Loras::STRENGTHS`], or no number.
    #[error("expected a strength from {} to {} for `{id}`", Loras::STRENGTHS.start(), Loras::STRENGTHS.end())]
    Strength {
        /// Whose strength.
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loras(strengths: &[(&str, f64)]) -> Result<Loras, LorasError> {
        Loras::new(strengths.iter().map(|(id, strength)| ((*id).to_owned(), *strength)).collect())
    }

    #[test]
    fn order_does_not_matter() {
        let one = loras(&[("b", 1.0), ("a", -0.5)]).unwrap();
        assert_eq!(one, loras(&[("a", -0.5), ("b", 1.0)]).unwrap());
        assert_eq!(one.iter().collect::<Vec<_>>(), [("a", -0.5), ("b", 1.0)]);
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"a":-0.5,"b":1.0}"#);
    }

    #[test]
    fn number_and_strengths_are_bounded() {
        assert!(loras(&[("a", 0.0), ("b", 10.0), ("c", -10.0), ("d", 1.0)]).is_ok());
        let five = [("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 0.0), ("e", 0.0)];
        assert_eq!(loras(&five), Err(LorasError::TooMany));
        for strength in [10.1, -11.0, f64::NAN, f64::INFINITY] {
            assert_eq!(loras(&[("a", strength)]), Err(LorasError::Strength { id: "a".to_owned() }));
        }
    }
}
