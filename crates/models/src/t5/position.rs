//! What T5 knows of positions: a bias of the attention scores for each distance.

use candle_core::{DType, Result as CandleResult, Tensor};

use super::config::T5Config;
use crate::error::Error;
use crate::weights::Weights;

/// The bias of every head for each bucket of distances.
pub(super) struct PositionBias {
    /// f32 `(buckets, heads)`.
    table: Tensor,
    buckets: Buckets,
}

impl PositionBias {
    pub(super) fn load(config: &T5Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let shape = (config.relative_attention_num_buckets, config.num_heads);
        let table = weights.with_dtype(DType::F32).get("weight", shape)?;
        let buckets = Buckets {
            // As many for what comes before a token as for what comes after it.
            count: config.relative_attention_num_buckets / 2,
            max_distance: config.relative_attention_max_distance,
        };
        Ok(Self { table, buckets })
    }

    /// Of a text: f32 `(heads, tokens, tokens)`.
    pub(super) fn forward(&self, tokens: usize) -> CandleResult<Tensor> {
        let row = |query: usize| (0..tokens).map(move |key| self.buckets.of(query, key));
        let buckets = (0..tokens).flat_map(row).collect::<Vec<_>>();
        let buckets = Tensor::from_vec(buckets, tokens * tokens, self.table.device())?;
        let bias = self.table.index_select(&buckets, 0)?;
        bias.t()?.contiguous()?.reshape((self.table.dim(1)?, tokens, tokens))
    }
}

/// How distances share buckets: one each for the nearest, then ever wider ones.
#[derive(Debug, Clone, Copy)]
struct Buckets {
    /// Of one direction.
    count: usize,
    /// From where on all distances are in the last bucket.
    max_distance: usize,
}

impl Buckets {
    /// The bucket for a token at `query` that looks at one at `key`.
    fn of(self, query: usize, key: usize) -> u32 {
        let bucket = self.of_distance(query.abs_diff(key));
        (if key > query { self.count + bucket } else { bucket }) as u32
    }

    /// In f32, as the reference does it: at the bounds of the buckets the rounding decides.
    fn of_distance(self, distance: usize) -> usize {
        let exact = self.count / 2;
        if distance < exact {
            return distance;
        }
        let wide = (self.count - exact) as f32;
        let span = libm::log(self.max_distance as f64 / exact as f64) as f32;
        let beyond = libm::logf(distance as f32 / exact as f32) / span * wide;
        (exact + beyond as usize).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From transformers' `_relative_position_bucket`.
    #[test]
    fn near_distances_have_buckets_of_their_own_and_far_ones_share() {
        let buckets = Buckets { count: 16, max_distance: 128 };
        let distances = [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 45, 46, 63, 64, 90, 91, 127, 128, 511];
        let expected = [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 15, 15];
        assert_eq!(distances.map(|distance| buckets.of_distance(distance)), expected);
        assert_eq!((buckets.of(3, 3), buckets.of(3, 1), buckets.of(1, 3)), (0, 2, 18));
    }
}
