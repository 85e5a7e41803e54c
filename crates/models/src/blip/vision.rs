//! The Vision Transformer (Dosovitskiy et al. 2021); transformers `BlipVisionModel`.

use candle_core::{D, Result as CandleResult, Tensor};

use super::config::VisionConfig;
use crate::attention::{Attend, attend_tokens};
use crate::error::Error;
use crate::layers::{Activation, LayerNorm, Linear, layer_norm, linear};
use crate::planes::{Conv2d, Kernel, Planes, conv2d};
use crate::weights::Weights;

pub(super) struct VisionModel {
    patch_embedding: Conv2d,
    class_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<Layer>,
    post_layernorm: LayerNorm,
}

impl VisionModel {
    pub(super) fn load(config: &VisionConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let size = config.hidden_size;
        let patches = (config.image_size / config.patch_size).saturating_pow(2);
        let embeddings = weights.pp("embeddings");
        let patch = Kernel::patch(config.patch_size);
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(config, &weights.pp("encoder.layers").pp(index)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            patch_embedding: conv2d(3, size, patch, &embeddings.pp("patch_embedding"))?,
            class_embedding: embeddings.get("class_embedding", (1, 1, size))?,
            position_embedding: embeddings.get("position_embedding", (1, patches.saturating_add(1), size))?,
            layers,
            post_layernorm: layer_norm(size, config.layer_norm_eps, &weights.pp("post_layernorm"))?,
        })
    }

    /// `(1, 3, image_size, image_size)` to `(1, 1 + patches, hidden_size)`, the class token first.
    pub(super) fn forward(&self, pixel_values: &Tensor) -> CandleResult<Tensor> {
        let patches = self.patch_embedding.forward(&Planes::new(pixel_values)?)?.tokens()?;
        let mut x = (Tensor::cat(&[&self.class_embedding, &patches], 1)? + &self.position_embedding)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.post_layernorm.forward(&x)
    }
}

struct Layer {
    heads: usize,
    layer_norm1: LayerNorm,
    qkv: Linear,
    projection: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    activation: Activation,
    fc2: Linear,
}

impl Layer {
    fn load(config: &VisionConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        let (attention, mlp) = (weights.pp("self_attn"), weights.pp("mlp"));
        Ok(Self {
            heads: config.num_attention_heads,
            layer_norm1: layer_norm(size, config.layer_norm_eps, &weights.pp("layer_norm1"))?,
            qkv: linear(size, size.saturating_mul(3), &attention.pp("qkv"))?,
            projection: linear(size, size, &attention.pp("projection"))?,
            layer_norm2: layer_norm(size, config.layer_norm_eps, &weights.pp("layer_norm2"))?,
            fc1: linear(size, inner, &mlp.pp("fc1"))?,
            activation: config.hidden_act,
            fc2: linear(inner, size, &mlp.pp("fc2"))?,
        })
    }

    /// `(1, tokens, hidden_size)` to the same.
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let qkv = self.qkv.forward(&self.layer_norm1.forward(x)?)?;
        let size = x.dim(D::Minus1)?;
        let part = |index: usize| qkv.narrow(D::Minus1, index * size, size);
        let attended = attend_tokens([&part(0)?, &part(1)?, &part(2)?], self.heads, Attend::default())?;
        let x = self.projection.forward_around(&attended, x)?;
        let inner = self.fc1.forward(&self.layer_norm2.forward(&x)?)?;
        self.fc2.forward_around(&self.activation.apply(&inner)?, &x)
    }
}
