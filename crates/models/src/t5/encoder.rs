//! The encoder; transformers `T5EncoderModel`.

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::{Embedding, Module, RmsNorm};

use super::config::T5Config;
use super::position::PositionBias;
use crate::attention::{Attend, Scale, attend, merge_heads, split_heads};
use crate::error::Error;
use crate::layers::{Linear, embedding, linear_no_bias, rms_norm};
use crate::weights::Weights;

/// Between the layers the states are f32, whatever the layers compute in: they grow beyond the range of f16.
pub(crate) struct T5Encoder {
    embed_tokens: Embedding,
    position_bias: PositionBias,
    layers: Vec<Layer>,
    final_layer_norm: RmsNorm,
    dtype: DType,
    device: Device,
}

impl T5Encoder {
    /// Weights of an encoder alone or of a whole T5, whose decoder is left unread.
    pub(crate) fn load(config: &T5Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let encoder = weights.pp("encoder");
        // One tensor under either of two names, or both.
        let embeddings = encoder.pp("embed_tokens");
        let embeddings = if weights.has("shared.weight") { weights.pp("shared") } else { embeddings };
        let blocks = encoder.pp("block");
        let layers = (0..config.num_layers)
            .map(|index| Layer::load(config, &blocks.pp(index).pp("layer")))
            .collect::<Result<_, _>>()?;
        let bias = blocks.pp("0.layer.0.SelfAttention.relative_attention_bias");
        Ok(Self {
            embed_tokens: embedding(config.vocab_size, config.d_model, &embeddings)?,
            position_bias: PositionBias::load(config, &bias)?,
            layers,
            final_layer_norm: norm(config, &encoder.pp("final_layer_norm"))?,
            dtype: weights.dtype(),
            device: weights.device().clone(),
        })
    }

    /// Whether a tensor of this name belongs to the encoder and is not a second name of another.
    pub(crate) fn is_encoder(name: &str) -> bool {
        name == "shared.weight" || name.starts_with("encoder.") && name != "encoder.embed_tokens.weight"
    }

    /// The hidden states `(1, ids, d_model)` of a text in the dtype of the weights. Padding is read like text.
    pub(crate) fn forward(&self, ids: &[u32]) -> CandleResult<Tensor> {
        let bias = self.position_bias.forward(ids.len())?;
        let ids = Tensor::new(ids, &self.device)?.unsqueeze(0)?;
        let mut x = self.embed_tokens.forward(&ids)?.to_dtype(DType::F32)?;
        for layer in &self.layers {
            x = layer.forward(&x, &bias, self.dtype)?;
        }
        self.final_layer_norm.forward(&x)?.to_dtype(self.dtype)
    }
}

/// Of f32 states, by f32 weights.
fn norm(config: &T5Config, weights: &Weights<'_>) -> Result<RmsNorm, Error> {
    rms_norm(config.d_model, config.layer_norm_epsilon, &weights.with_dtype(DType::F32))
}

struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

impl Layer {
    fn load(config: &T5Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let (first, second) = (weights.pp(0), weights.pp(1));
        Ok(Self {
            attention_norm: norm(config, &first.pp("layer_norm"))?,
            attention: Attention::load(config, &first.pp("SelfAttention"))?,
            feed_forward_norm: norm(config, &second.pp("layer_norm"))?,
            feed_forward: FeedForward::load(config, &second.pp("DenseReluDense"))?,
        })
    }

    /// f32 `(1, tokens, d_model)` to the same; `bias`: f32 `(heads, tokens, tokens)`.
    fn forward(&self, x: &Tensor, bias: &Tensor, dtype: DType) -> CandleResult<Tensor> {
        let normed = self.attention_norm.forward(x)?.to_dtype(dtype)?;
        let x = (x + self.attention.forward(&normed, bias)?.to_dtype(DType::F32)?)?;
        let normed = self.feed_forward_norm.forward(&x)?.to_dtype(dtype)?;
        &x + self.feed_forward.forward(&normed)?
    }
}

struct Attention {
    heads: usize,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
}

impl Attention {
    fn load(config: &T5Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let (size, inner) = (config.d_model, config.num_heads * config.d_kv);
        Ok(Self {
            heads: config.num_heads,
            q: linear_no_bias(size, inner, &weights.pp("q"))?,
            k: linear_no_bias(size, inner, &weights.pp("k"))?,
            v: linear_no_bias(size, inner, &weights.pp("v"))?,
            o: linear_no_bias(inner, size, &weights.pp("o"))?,
        })
    }

    fn forward(&self, x: &Tensor, bias: &Tensor) -> CandleResult<Tensor> {
        let q = split_heads(&self.q.forward(x)?, self.heads)?;
        let k = split_heads(&self.k.forward(x)?, self.heads)?;
        let v = split_heads(&self.v.forward(x)?, self.heads)?;
        let how = Attend { mask: Some(bias), scale: Scale::None, score_dtype: Some(DType::F32) };
        self.o.forward(&merge_heads(&attend(&q, &k, &v, how)?, self.heads)?)
    }
}

/// With a gate (Shazeer 2020), its GELU by the hyperbolic tangent.
struct FeedForward {
    wi_0: Linear,
    wi_1: Linear,
    wo: Linear,
    /// Of `wo`.
    out_dtype: DType,
}

impl FeedForward {
    /// The last layer is f32 where the others are f16, as in the reference: its results are beyond f16.
    fn load(config: &T5Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let (size, inner) = (config.d_model, config.d_ff);
        let out_dtype = if weights.dtype() == DType::F16 { DType::F32 } else { weights.dtype() };
        Ok(Self {
            wi_0: linear_no_bias(size, inner, &weights.pp("wi_0"))?,
            wi_1: linear_no_bias(size, inner, &weights.pp("wi_1"))?,
            wo: linear_no_bias(inner, size, &weights.pp("wo").with_dtype(out_dtype))?,
            out_dtype,
        })
    }

    /// `(1, tokens, d_model)` to f32 of the same shape.
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let gate = self.wi_0.forward(x)?.to_dtype(DType::F32)?.gelu()?;
        let inner = (gate * self.wi_1.forward(x)?.to_dtype(DType::F32)?)?;
        self.wo.forward(&inner.to_dtype(self.out_dtype)?)?.to_dtype(DType::F32)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::attention::largest_difference;
    use crate::folder::{Folder, ModelFolder};
    use crate::weights::Checkpoint;

    const IDS: [u32; 4] = [40, 7, 12, 1];

    fn component() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/sd3/text_encoder_3")
    }

    /// The last hidden states in f32 of an encoder that computes in `dtype`.
    fn states(weights: PathBuf, dtype: DType) -> Tensor {
        let config = T5Config::load(&Folder::new(&ModelFolder::from(component()))).unwrap();
        let checkpoint = Checkpoint::open(vec![weights]).unwrap();
        let encoder = T5Encoder::load(&config, &checkpoint.root(&Device::Cpu, dtype)).unwrap();
        let states = encoder.forward(&IDS).unwrap();
        assert_eq!((states.dims(), states.dtype()), (&[1, 4, 48][..], dtype));
        states.to_dtype(DType::F32).unwrap()
    }

    #[test]
    fn half_precision_gives_the_same_states_but_for_rounding() {
        let weights = component().join("model.safetensors");
        let whole = states(weights.clone(), DType::F32);
        for (dtype, tolerance) in [(DType::F16, 0.02), (DType::BF16, 0.15)] {
            let difference = largest_difference(&whole, &states(weights.clone(), dtype));
            assert!(difference < tolerance, "{dtype:?}: {difference}");
        }
    }

    /// The states of the full-size model are in the hundreds of thousands.
    #[test]
    fn states_beyond_the_range_of_f16_are_no_harm_to_it() {
        let mut tensors =
            candle_core::safetensors::load(component().join("model.safetensors"), &Device::Cpu).unwrap();
        for (name, tensor) in &mut tensors {
            if name.ends_with("DenseReluDense.wo.weight") {
                *tensor = tensor.to_dtype(DType::F32).unwrap().affine(3e5, 0.0).unwrap();
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        candle_core::safetensors::save(&tensors, &file).unwrap();
        let (whole, half) = (states(file.clone(), DType::F32), states(file, DType::F16));
        assert!(largest_difference(&whole, &half) < 0.05);
    }
}
