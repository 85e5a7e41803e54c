//! Prices: what a job costs, in the terms of a catalog entry.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::Task;

/// What pixels cost. Text-to-image counts output pixels, image-to-text input pixels; charged on success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Price of `pixels_per_unit` pixels.
    pub per_unit: Decimal,
    /// Pixels in one unit, above 0.
    pub pixels_per_unit: u64,
    /// Currency code, e.g. `USD`.
    pub currency: String,
}

impl Price {
    /// Decimal places that a cost is rounded to.
    const PLACES: u32 = 12;

    /// What `task` costs when it succeeds. `None` if the amount cannot be represented.
    pub fn of(&self, task: &Task) -> Option<Decimal> {
        let pixels = Decimal::from(task.pixels());
        let units = pixels.checked_div(Decimal::from(self.pixels_per_unit))?;
        Some(units.checked_mul(self.per_unit)?.round_dp(Self::PLACES).normalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageSize, Loras, PictureOutput, Prompt, TextToImage};

    #[test]
    fn a_megapixel_at_the_recommended_price_costs_two_cents() {
        let price = Price {
            per_unit: Decimal::from_scientific("1.9073484e-08").unwrap(),
            pixels_per_unit: 1,
            currency: "USD".into(),
        };
        let task = Task::TextToImage(TextToImage {
            prompt: Prompt::new("a cat").unwrap(),
            negative_prompt: None,
            size: ImageSize::new(1024, 1024).unwrap(),
            steps: 20,
            guidance_scale: 7.5,
            seed: 1,
            images: 2,
            scheduler: None,
            loras: Loras::default(),
            safety_check: true,
            output: PictureOutput::default(),
        });
        assert_eq!(price.of(&task).unwrap().to_string(), "0.039999995118");
    }
}
