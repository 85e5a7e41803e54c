//! The text decoder, a BERT that attends to a picture; transformers `BlipTextLMHeadModel`.

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::{Embedding, Module as _};

use super::config::TextConfig;
use crate::attention::{Attend, attend, causal_mask, merge_heads, split_heads};
use crate::error::Error;
use crate::layers::{Activation, LayerNorm, Linear, embedding, layer_norm, linear};
use crate::weights::Weights;

/// The second name of the last layer's bias in published files, which hold it twice.
pub(super) const UNREAD: &str = "text_decoder.cls.predictions.decoder.bias";

pub(super) struct TextDecoder {
    word_embeddings: Embedding,
    position_embeddings: Tensor,
    layer_norm: LayerNorm,
    layers: Vec<Layer>,
    head: Head,
    device: Device,
}

/// What the decoder remembers of a text in work.
pub(super) struct DecoderState {
    /// Of each layer.
    layers: Vec<LayerState>,
    /// Tokens seen.
    past: usize,
}

struct LayerState {
    /// Of the tokens seen: contiguous `(heads, past, size)`.
    own: Option<KeysValues>,
    /// Of the picture, worked out once: contiguous `(heads, patches, size)`.
    image: KeysValues,
}

#[derive(Clone)]
struct KeysValues {
    keys: Tensor,
    values: Tensor,
}

impl TextDecoder {
    pub(super) fn load(config: &TextConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let bert = weights.pp("bert");
        let embeddings = bert.pp("embeddings");
        let size = config.hidden_size;
        let words = embeddings.pp("word_embeddings");
        let word_embeddings = embedding(config.vocab_size, size, &words)?;
        let positions = embeddings.pp("position_embeddings");
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(config, &bert.pp("encoder.layer").pp(index)))
            .collect::<Result<_, _>>()?;
        let head = Head::load(config, word_embeddings.embeddings(), &weights.pp("cls.predictions"))?;
        Ok(Self {
            word_embeddings,
            position_embeddings: positions.get("weight", (config.max_position_embeddings, size))?,
            layer_norm: layer_norm(size, config.layer_norm_eps, &embeddings.pp("LayerNorm"))?,
            layers,
            head,
            device: weights.device().clone(),
        })
    }

    /// Begins a text about a picture: `(1, patches, encoder_hidden_size)`.
    pub(super) fn start(&self, image: &Tensor) -> CandleResult<DecoderState> {
        let layers = self
            .layers
            .iter()
            .map(|layer| {
                let image = layer.cross_attention.keys_values(image)?;
                Ok(LayerState { own: None, image })
            })
            .collect::<CandleResult<_>>()?;
        Ok(DecoderState { layers, past: 0 })
    }

    /// Reads the next tokens, at least one, and scores what follows the last of them: f32 `(vocab_size)`.
    pub(super) fn forward(&self, ids: &[u32], state: &mut DecoderState) -> CandleResult<Tensor> {
        let count = ids.len();
        let ids = Tensor::new(ids, &self.device)?.unsqueeze(0)?;
        let positions = self.position_embeddings.narrow(0, state.past, count)?;
        let x = self.word_embeddings.forward(&ids)?.broadcast_add(&positions)?;
        let mut x = self.layer_norm.forward(&x)?;
        let mask = causal_mask(count, state.past, &self.device)?;
        for (layer, state) in self.layers.iter().zip(&mut state.layers) {
            x = layer.forward(&x, &mask, state)?;
        }
        state.past += count;
        self.head.forward(&x.narrow(1, count - 1, 1)?)?.flatten_all()?.to_dtype(DType::F32)
    }
}

struct Layer {
    attention: Attention,
    cross_attention: Attention,
    intermediate: Linear,
    activation: Activation,
    output: Residual,
}

impl Layer {
    fn load(config: &TextConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        let context = config.encoder_hidden_size;
        Ok(Self {
            attention: Attention::load(config, size, &weights.pp("attention"))?,
            cross_attention: Attention::load(config, context, &weights.pp("crossattention"))?,
            intermediate: linear(size, inner, &weights.pp("intermediate.dense"))?,
            activation: config.hidden_act,
            output: Residual::load(inner, config, &weights.pp("output"))?,
        })
    }

    /// `(1, tokens, hidden_size)` to the same.
    fn forward(&self, x: &Tensor, mask: &Tensor, state: &mut LayerState) -> CandleResult<Tensor> {
        let new = self.attention.keys_values(x)?;
        let own = match state.own.take() {
            Some(past) => KeysValues {
                keys: Tensor::cat(&[&past.keys, &new.keys], 1)?,
                values: Tensor::cat(&[&past.values, &new.values], 1)?,
            },
            None => new,
        };
        let x = self.attention.forward(x, &own, Some(mask))?;
        state.own = Some(own);
        let x = self.cross_attention.forward(&x, &state.image, None)?;
        let inner = self.activation.apply(&self.intermediate.forward(&x)?)?;
        self.output.forward(&inner, &x)
    }
}

struct Attention {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Residual,
}

impl Attention {
    /// `context`: the width of what is attended to.
    fn load(config: &TextConfig, context: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        let (size, own) = (config.hidden_size, weights.pp("self"));
        Ok(Self {
            heads: config.num_attention_heads,
            query: linear(size, size, &own.pp("query"))?,
            key: linear(context, size, &own.pp("key"))?,
            value: linear(context, size, &own.pp("value"))?,
            output: Residual::load(size, config, &weights.pp("output"))?,
        })
    }

    fn keys_values(&self, context: &Tensor) -> CandleResult<KeysValues> {
        Ok(KeysValues {
            keys: split_heads(&self.key.forward(context)?, self.heads)?,
            values: split_heads(&self.value.forward(context)?, self.heads)?,
        })
    }

    fn forward(&self, x: &Tensor, to: &KeysValues, mask: Option<&Tensor>) -> CandleResult<Tensor> {
        let q = split_heads(&self.query.forward(x)?, self.heads)?;
        let attended = attend(&q, &to.keys, &to.values, Attend { mask, ..Attend::default() })?;
        self.output.forward(&merge_heads(&attended, self.heads)?, x)
    }
}

/// A linear layer, the sum with what went around it, and a normalisation.
struct Residual {
    dense: Linear,
    layer_norm: LayerNorm,
}

impl Residual {
    fn load(inputs: usize, config: &TextConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let size = config.hidden_size;
        Ok(Self {
            dense: linear(inputs, size, &weights.pp("dense"))?,
            layer_norm: layer_norm(size, config.layer_norm_eps, &weights.pp("LayerNorm"))?,
        })
    }

    fn forward(&self, x: &Tensor, around: &Tensor) -> CandleResult<Tensor> {
        self.layer_norm.forward(&self.dense.forward_around(x, around)?)
    }
}

/// From hidden states to scores of tokens.
struct Head {
    dense: Linear,
    activation: Activation,
    layer_norm: LayerNorm,
    decoder: Linear,
}

impl Head {
    /// The last layer's weights are the word embeddings where the file has none of its own (they are tied), and
    /// its bias has either of two names.
    fn load(config: &TextConfig, words: &Tensor, weights: &Weights<'_>) -> Result<Self, Error> {
        let (size, vocab) = (config.hidden_size, config.vocab_size);
        let (transform, decoder) = (weights.pp("transform"), weights.pp("decoder"));
        let weight = match decoder.has("weight") {
            true => decoder.get("weight", (vocab, size))?,
            false => words.clone(),
        };
        let bias =
            if weights.has("bias") { weights.get("bias", vocab)? } else { decoder.get("bias", vocab)? };
        Ok(Self {
            dense: linear(size, size, &transform.pp("dense"))?,
            activation: config.hidden_act,
            layer_norm: layer_norm(size, config.layer_norm_eps, &transform.pp("LayerNorm"))?,
            decoder: Linear::new(weight, Some(bias)),
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let x = self.activation.apply(&self.dense.forward(x)?)?;
        self.decoder.forward(&self.layer_norm.forward(&x)?)
    }
}
