//! `config.json` of a T5.

use serde::Deserialize;

use crate::error::Error;
use crate::folder::Folder;

const CONFIG: &str = "config.json";

/// More than any model has, so that the product of two fits any integer.
const MAX_WIDTH: usize = 1 << 16;

/// What an encoder looks like.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct T5Config {
    pub(crate) vocab_size: usize,
    /// Width of the hidden states.
    pub(crate) d_model: usize,
    /// Width of one head.
    pub(super) d_kv: usize,
    /// Inner width of the feed-forward network.
    pub(super) d_ff: usize,
    pub(super) num_layers: usize,
    pub(super) num_heads: usize,
    #[serde(default = "default_buckets")]
    pub(super) relative_attention_num_buckets: usize,
    #[serde(default = "default_max_distance")]
    pub(super) relative_attention_max_distance: usize,
    #[serde(default = "default_eps")]
    pub(super) layer_norm_epsilon: f64,
    #[serde(default = "default_feed_forward")]
    feed_forward_proj: String,
}

fn default_buckets() -> usize {
    32
}

fn default_max_distance() -> usize {
    128
}

fn default_eps() -> f64 {
    1e-6
}

fn default_feed_forward() -> String {
    "relu".to_owned()
}

impl T5Config {
    pub(crate) fn load(folder: &Folder) -> Result<Self, Error> {
        let config: Self = folder.json(CONFIG)?;
        if config.feed_forward_proj != "gated-gelu" {
            return Err(Error::Unsupported(format!(
                "the model's T5 has a feed-forward network of kind {:?}; only gated-gelu, that of T5 1.1, is \
                 implemented",
                config.feed_forward_proj
            )));
        }
        // Two directions, and in each at least one distance of its own and one bucket for all others.
        let buckets = config.relative_attention_num_buckets;
        if buckets < 4 || config.relative_attention_max_distance <= buckets / 4 {
            let reason = "relative_attention_num_buckets and relative_attention_max_distance are too small";
            return Err(folder.invalid(CONFIG, reason));
        }
        for (field, value) in [("num_heads", config.num_heads), ("d_kv", config.d_kv)] {
            if !(1..=MAX_WIDTH).contains(&value) {
                return Err(
                    folder.invalid(CONFIG, format!("{field} is {value}, and must be 1 to {MAX_WIDTH}"))
                );
            }
        }
        Ok(config)
    }
}
