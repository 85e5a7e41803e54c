//! CLIP's text transformer (Radford et al. 2021); transformers `CLIPTextModel` and
//! `CLIPTextModelWithProjection`.

use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::{Embedding, Module as _};
use serde::Deserialize;

use super::layer::{Layer, LayerConfig};
use crate::attention::causal_mask;
use crate::error::Error;
use crate::folder::Folder;
use crate::layers::{Activation, LayerNorm, Linear, embedding, layer_norm, linear_no_bias};
use crate::weights::Weights;

const CONFIG: &str = "config.json";

/// `text_encoder/config.json`, or the same of another encoder.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ClipConfig {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    pub(crate) max_position_embeddings: usize,
    /// Width of the pooled states of a model with a projection.
    #[serde(default = "default_projection")]
    pub(crate) projection_dim: usize,
    hidden_act: Activation,
    #[serde(default = "default_eps")]
    layer_norm_eps: f64,
    /// Whether it is a `CLIPTextModelWithProjection`.
    #[serde(skip)]
    projects: bool,
}

fn default_eps() -> f64 {
    1e-5
}

fn default_projection() -> usize {
    512
}

impl ClipConfig {
    pub(crate) fn load(folder: &Folder) -> Result<Self, Error> {
        let config: Self = folder.json(CONFIG)?;
        if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(folder.invalid(CONFIG, "hidden_size is not a multiple of num_attention_heads"));
        }
        Ok(config)
    }

    /// The same of a `CLIPTextModelWithProjection`.
    pub(crate) fn with_projection(self) -> Self {
        Self { projects: true, ..self }
    }

    fn layer(&self) -> LayerConfig {
        LayerConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            heads: self.num_attention_heads,
            activation: self.hidden_act,
            eps: self.layer_norm_eps,
        }
    }
}

pub(crate) struct ClipTextModel {
    token_embedding: Embedding,
    position_embedding: Tensor,
    layers: Vec<Layer>,
    final_layer_norm: LayerNorm,
    text_projection: Option<Linear>,
    causal_mask: Tensor,
    device: Device,
}

/// What a text became.
pub(crate) struct ClipStates {
    /// What the last layer was shown, `(1, ids, hidden_size)`: `hidden_states[-2]` of transformers.
    pub(crate) penultimate: Tensor,
    /// What came out of the last layer and the final normalisation, `(1, ids, hidden_size)`.
    pub(crate) last: Tensor,
}

impl ClipStates {
    /// What the end token, which is at `end`, became: `(1, hidden_size)`.
    pub(crate) fn at_end(&self, end: usize) -> CandleResult<Tensor> {
        self.last.narrow(1, end, 1)?.squeeze(1)
    }
}

impl ClipTextModel {
    /// Weights with the prefix `text_model.`, as published, or without, as newer transformers write them.
    pub(crate) fn load(config: &ClipConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let prefixed = weights.pp("text_model");
        let bare = "embeddings.token_embedding.weight";
        let root = if weights.has(bare) { weights } else { &prefixed };
        let (size, positions) = (config.hidden_size, config.max_position_embeddings);
        let embeddings = root.pp("embeddings");
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(&config.layer(), &root.pp("encoder.layers").pp(index)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            token_embedding: embedding(config.vocab_size, size, &embeddings.pp("token_embedding"))?,
            position_embedding: embeddings.pp("position_embedding").get("weight", (positions, size))?,
            layers,
            final_layer_norm: layer_norm(size, config.layer_norm_eps, &root.pp("final_layer_norm"))?,
            text_projection: config
                .projects
                .then(|| linear_no_bias(size, config.projection_dim, &weights.pp("text_projection")))
                .transpose()?,
            causal_mask: causal_mask(positions, 0, weights.device())?,
            device: weights.device().clone(),
        })
    }

    /// The hidden states of one text, which must not be longer than there are positions.
    pub(crate) fn forward(&self, ids: &[u32]) -> CandleResult<ClipStates> {
        let count = ids.len();
        let ids = Tensor::new(ids, &self.device)?.unsqueeze(0)?;
        let positions = self.position_embedding.narrow(0, 0, count)?;
        let mask = self.causal_mask.narrow(0, 0, count)?.narrow(1, 0, count)?;
        let mut x = self.token_embedding.forward(&ids)?.broadcast_add(&positions)?;
        let mut penultimate = x.clone();
        for layer in &self.layers {
            penultimate = x;
            x = layer.forward(&penultimate, Some(&mask))?;
        }
        Ok(ClipStates { penultimate, last: self.final_layer_norm.forward(&x)? })
    }

    /// One vector for the text whose end token is at `end`: `(1, projection_dim)`, or `(1, hidden_size)` of a
    /// model without a projection.
    pub(crate) fn pooled(&self, states: &ClipStates, end: usize) -> CandleResult<Tensor> {
        let pooled = states.at_end(end)?;
        match &self.text_projection {
            Some(projection) => projection.forward(&pooled),
            None => Ok(pooled),
        }
    }
}
