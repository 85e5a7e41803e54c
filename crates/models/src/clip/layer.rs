//! The layer that CLIP's two transformers are made of; transformers `CLIPEncoderLayer`.

use candle_core::{DType, Result as CandleResult, Tensor};

use crate::attention::{Attend, attend_tokens};
use crate::error::Error;
use crate::layers::{Activation, LayerNorm, Linear, layer_norm, linear};
use crate::weights::Weights;

/// What a layer is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerConfig {
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) heads: usize,
    pub(super) activation: Activation,
    pub(super) eps: f64,
}

pub(super) struct Layer {
    heads: usize,
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    activation: Activation,
    fc2: Linear,
}

impl Layer {
    pub(super) fn load(config: &LayerConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        let (attention, mlp) = (weights.pp("self_attn"), weights.pp("mlp"));
        Ok(Self {
            heads: config.heads,
            layer_norm1: layer_norm(size, config.eps, &weights.pp("layer_norm1"))?,
            q_proj: linear(size, size, &attention.pp("q_proj"))?,
            k_proj: linear(size, size, &attention.pp("k_proj"))?,
            v_proj: linear(size, size, &attention.pp("v_proj"))?,
            out_proj: linear(size, size, &attention.pp("out_proj"))?,
            layer_norm2: layer_norm(size, config.eps, &weights.pp("layer_norm2"))?,
            fc1: linear(size, inner, &mlp.pp("fc1"))?,
            activation: config.activation,
            fc2: linear(inner, size, &mlp.pp("fc2"))?,
        })
    }

    /// `(batch, tokens, hidden_size)` to the same. `mask`: f32 `(tokens, tokens)`, added to the scores.
    pub(super) fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> CandleResult<Tensor> {
        let normed = self.layer_norm1.forward(x)?;
        let (q, k) = (self.q_proj.forward(&normed)?, self.k_proj.forward(&normed)?);
        let v = self.v_proj.forward(&normed)?;
        let how = Attend { mask, score_dtype: Some(DType::F32), ..Attend::default() };
        let attended = attend_tokens([&q, &k, &v], self.heads, how)?;
        let x = self.out_proj.forward_around(&attended, x)?;
        let inner = self.fc1.forward(&self.layer_norm2.forward(&x)?)?;
        self.fc2.forward_around(&self.activation.apply(&inner)?, &x)
    }
}
