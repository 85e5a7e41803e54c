//! CLIP's Vision Transformer; transformers `CLIPVisionModel`.

use candle_core::{Result as CandleResult, Tensor};

use serde::Deserialize;

use super::layer::{Layer, LayerConfig};
use crate::error::Error;
use crate::layers::{Activation, LayerNorm, layer_norm};
use crate::planes::{Conv2d, Kernel, Planes, conv2d_no_bias};
use crate::weights::Weights;

/// `vision_config` of a `config.json`. Fields left out have the defaults of transformers, which published files
/// rely on.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct ClipVisionConfig {
    pub(crate) hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: usize,
    pub(crate) image_size: usize,
    patch_size: usize,
    hidden_act: Activation,
    layer_norm_eps: f64,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl ClipVisionConfig {
    /// Why no model can be made of it.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err("hidden_size is not a multiple of num_attention_heads");
        }
        if self.patch_size == 0 || self.image_size < self.patch_size {
            return Err("image_size is smaller than patch_size, or patch_size is 0");
        }
        if self.num_channels != 3 {
            return Err("num_channels is not 3");
        }
        Ok(())
    }

    /// Patches of a picture.
    fn patches(&self) -> usize {
        (self.image_size / self.patch_size).saturating_pow(2)
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

pub(crate) struct ClipVisionModel {
    patch_embedding: Conv2d,
    /// `(1, 1, hidden_size)`.
    class_embedding: Tensor,
    /// `(1 + patches, hidden_size)`.
    position_embedding: Tensor,
    pre_layer_norm: LayerNorm,
    layers: Vec<Layer>,
    post_layer_norm: LayerNorm,
}

impl ClipVisionModel {
    pub(crate) fn load(config: &ClipVisionConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (size, eps) = (config.hidden_size, config.layer_norm_eps);
        let patch = Kernel::patch(config.patch_size);
        let embeddings = weights.pp("embeddings");
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(&config.layer(), &weights.pp("encoder.layers").pp(index)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            patch_embedding: conv2d_no_bias(3, size, patch, &embeddings.pp("patch_embedding"))?,
            class_embedding: embeddings.get("class_embedding", size)?.unsqueeze(0)?.unsqueeze(0)?,
            position_embedding: embeddings
                .pp("position_embedding")
                .get("weight", (config.patches().saturating_add(1), size))?,
            // The reference's own spelling.
            pre_layer_norm: layer_norm(size, eps, &weights.pp("pre_layrnorm"))?,
            layers,
            post_layer_norm: layer_norm(size, eps, &weights.pp("post_layernorm"))?,
        })
    }

    /// `(1, 3, image_size, image_size)`, normalised, to one vector for the picture: `(1, hidden_size)`.
    pub(crate) fn pooled(&self, pixel_values: &Tensor) -> CandleResult<Tensor> {
        let patches = self.patch_embedding.forward(&Planes::new(pixel_values)?)?.tokens()?;
        let x = Tensor::cat(&[&self.class_embedding, &patches], 1)?;
        let mut x = self.pre_layer_norm.forward(&x.broadcast_add(&self.position_embedding)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, None)?;
        }
        self.post_layer_norm.forward(&x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)
    }
}
