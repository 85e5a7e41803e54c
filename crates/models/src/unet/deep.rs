//! Deeper features that several passes share (DeepCache, Ma et al. 2024, its branch 0).
//!
//! From one step to the next the features change little but at the full size. So only one pass of `interval` goes
//! through the whole U-Net. Those after it run the first convolution, take what the whole pass had for the last
//! layer of the way up, and go on from there.

use std::num::NonZeroU32;

use candle_core::Result as CandleResult;

use crate::planes::Planes;

/// What the last layer of the way up is given from below, for the passes of one picture.
pub(crate) struct DeepFeatures {
    interval: NonZeroU32,
    passes: u32,
    kept: Option<Planes>,
}

impl DeepFeatures {
    /// The first of `interval` passes makes them for all of those.
    pub(crate) fn every(interval: NonZeroU32) -> Self {
        Self { interval, passes: 0, kept: None }
    }

    /// Those of the next pass: kept ones, or else what `make` makes.
    pub(super) fn next_or(&mut self, make: impl FnOnce() -> CandleResult<Planes>) -> CandleResult<Planes> {
        let interval = self.interval.get();
        if self.passes.is_multiple_of(interval) {
            self.kept = None;
        }
        self.passes += 1;
        if let Some(kept) = &self.kept {
            return Ok(kept.clone());
        }
        let made = make()?;
        if interval > 1 {
            self.kept = Some(made.clone());
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// In which of eight passes they are made, and which each of those is given.
    fn passes(interval: u32) -> (Vec<u32>, Vec<f32>) {
        let mut features = DeepFeatures::every(NonZeroU32::new(interval).unwrap());
        let (mut made, mut given) = (Vec::new(), Vec::new());
        for pass in 0..8 {
            let make = || {
                made.push(pass);
                Planes::new(&Tensor::full(pass as f32, (1, 1, 1, 1), &Device::Cpu)?)
            };
            let tensor = features.next_or(make).unwrap().tensor().unwrap();
            given.push(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]);
        }
        (made, given)
    }

    #[test]
    fn the_first_of_an_interval_makes_them_for_all_of_it() {
        assert_eq!(passes(3), (vec![0, 3, 6], vec![0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 6.0, 6.0]));
        assert_eq!(passes(9), (vec![0], vec![0.0; 8]));
    }

    #[test]
    fn an_interval_of_one_keeps_nothing() {
        assert_eq!(passes(1).0, (0..8).collect::<Vec<_>>());
    }
}
