//! Attention among the tokens of text and image together; diffusers `FluxAttention`.

use candle_core::{Result as CandleResult, Tensor};
use candle_nn::{Module, RmsNorm};

use super::config::FluxConfig;
use super::rotary::Rotary;
use crate::attention::{Attend, attend, merge_heads, split_heads};
use crate::error::Error;
use crate::layers::{Linear, linear, rms_norm};
use crate::weights::Weights;

const NORM_EPS: f64 = 1e-6;

/// Names of the layers of a [`Projection`].
pub(super) struct ProjectionNames {
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) query_norm: &'static str,
    pub(super) key_norm: &'static str,
}

impl ProjectionNames {
    /// Of image tokens, and of all tokens where text and image share weights.
    pub(super) const OWN: Self =
        Self { query: "to_q", key: "to_k", value: "to_v", query_norm: "norm_q", key_norm: "norm_k" };
    /// Of text tokens.
    pub(super) const ADDED: Self = Self {
        query: "add_q_proj",
        key: "add_k_proj",
        value: "add_v_proj",
        query_norm: "norm_added_q",
        key_norm: "norm_added_k",
    };
}

/// From tokens to their queries, keys and values.
pub(super) struct Projection {
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    heads: usize,
}

/// Queries, keys and values, each contiguous `(batch, tokens, width)`.
pub(super) struct Projected {
    query: Tensor,
    key: Tensor,
    value: Tensor,
}

impl Projection {
    pub(super) fn load(
        names: &ProjectionNames,
        config: &FluxConfig,
        weights: &Weights<'_>,
    ) -> Result<Self, Error> {
        let layer = |name: &str| linear(config.width(), config.width(), &weights.pp(name));
        let norm = |name: &str| rms_norm(config.head_size, NORM_EPS, &weights.pp(name));
        Ok(Self {
            query: layer(names.query)?,
            key: layer(names.key)?,
            value: layer(names.value)?,
            query_norm: norm(names.query_norm)?,
            key_norm: norm(names.key_norm)?,
            heads: config.heads,
        })
    }

    /// `x`: contiguous `(batch, tokens, width)`.
    pub(super) fn forward(&self, x: &Tensor) -> CandleResult<Projected> {
        Ok(Projected {
            query: self.normed(&self.query_norm, &self.query.forward(x)?)?,
            key: self.normed(&self.key_norm, &self.key.forward(x)?)?,
            value: self.value.forward(x)?,
        })
    }

    /// Each head by itself.
    fn normed(&self, norm: &RmsNorm, x: &Tensor) -> CandleResult<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        norm.forward(&x.reshape((batch, tokens, self.heads, width / self.heads))?)?.reshape(x.shape())
    }
}

impl Projected {
    /// These tokens, then those of `other`.
    pub(super) fn then(&self, other: &Self) -> CandleResult<Self> {
        Ok(Self {
            query: Tensor::cat(&[&self.query, &other.query], 1)?,
            key: Tensor::cat(&[&self.key, &other.key], 1)?,
            value: Tensor::cat(&[&self.value, &other.value], 1)?,
        })
    }

    /// What each token gets of all: contiguous `(batch, tokens, width)`.
    pub(super) fn attend(&self, heads: usize, rotary: &Rotary) -> CandleResult<Tensor> {
        let (batch, tokens, width) = self.query.dims3()?;
        let turned = |x: &Tensor| {
            let x = split_heads(x, heads)?.reshape((batch, heads, tokens, width / heads))?;
            rotary.turn(&x)?.reshape((batch * heads, tokens, width / heads))
        };
        let (query, key) = (turned(&self.query)?, turned(&self.key)?);
        merge_heads(&attend(&query, &key, &split_heads(&self.value, heads)?, Attend::default())?, heads)
    }
}
