//! Attention between positions and to the text; diffusers `Transformer2DModel`.

use candle_core::{DType, Result as CandleResult, Tensor};

use super::config::{BlockConfig, UnetConfig};
use crate::attention::{Attend, attend_tokens};
use crate::error::Error;
use crate::layers::{LayerNorm, Linear, layer_norm, linear, linear_from_conv, linear_no_bias};
use crate::planes::{Dims, GroupNorm, Groups, Planes};
use crate::weights::Weights;

/// Of the normalisation around the blocks, whatever `norm_eps` says.
const GROUP_NORM_EPS: f64 = 1e-6;
const LAYER_NORM_EPS: f64 = 1e-5;

/// Inner width of the feed-forward network, in widths of its input.
const FEED_FORWARD_FACTOR: usize = 4;

pub(super) struct Transformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<TransformerBlock>,
    proj_out: Linear,
}

impl Transformer {
    pub(super) fn load(
        block: &BlockConfig,
        config: &UnetConfig,
        weights: &Weights<'_>,
    ) -> Result<Self, Error> {
        let channels = block.channels;
        // Stored as a 1 × 1 convolution or as a linear layer: the same arithmetic.
        let projection = if config.use_linear_projection { linear } else { linear_from_conv };
        let groups = Groups { eps: GROUP_NORM_EPS, ..config.groups };
        let blocks = (0..block.depth)
            .map(|index| TransformerBlock::load(block, config, &weights.pp("transformer_blocks").pp(index)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            norm: groups.norm(channels, &weights.pp("norm"))?,
            proj_in: projection(channels, channels, &weights.pp("proj_in"))?,
            blocks,
            proj_out: projection(channels, channels, &weights.pp("proj_out"))?,
        })
    }

    /// `text`: `(batch, tokens, cross_attention_dim)`. The result is like `x`.
    pub(super) fn forward(&self, x: &Planes, text: &Tensor) -> CandleResult<Planes> {
        let Dims { height, width, .. } = x.dims()?;
        let mut tokens = self.proj_in.forward(&self.norm.forward(x)?.tokens()?)?;
        for block in &self.blocks {
            tokens = block.forward(&tokens, text)?;
        }
        x.add(&Planes::from_tokens(&self.proj_out.forward(&tokens)?, height, width)?)
    }
}

struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    feed_forward: FeedForward,
}

impl TransformerBlock {
    fn load(block: &BlockConfig, config: &UnetConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let channels = block.channels;
        let norm = |name: &str| layer_norm(channels, LAYER_NORM_EPS, &weights.pp(name));
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: Attention::load(block, channels, config, &weights.pp("attn1"))?,
            norm2: norm("norm2")?,
            attn2: Attention::load(block, config.cross_attention_dim, config, &weights.pp("attn2"))?,
            norm3: norm("norm3")?,
            feed_forward: FeedForward::load(channels, &weights.pp("ff.net"))?,
        })
    }

    /// `(batch, tokens, channels)` to the same.
    fn forward(&self, x: &Tensor, text: &Tensor) -> CandleResult<Tensor> {
        let normed = self.norm1.forward(x)?;
        let x = self.attn1.forward(&normed, &normed, x)?;
        let x = self.attn2.forward(&self.norm2.forward(&x)?, text, &x)?;
        self.feed_forward.forward(&self.norm3.forward(&x)?, &x)
    }
}

struct Attention {
    heads: usize,
    score_dtype: Option<DType>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl Attention {
    /// `context`: the width of what is attended to.
    fn load(
        block: &BlockConfig,
        context: usize,
        config: &UnetConfig,
        weights: &Weights<'_>,
    ) -> Result<Self, Error> {
        let channels = block.channels;
        Ok(Self {
            heads: block.heads,
            score_dtype: config.upcast_attention.then_some(DType::F32),
            to_q: linear_no_bias(channels, channels, &weights.pp("to_q"))?,
            to_k: linear_no_bias(context, channels, &weights.pp("to_k"))?,
            to_v: linear_no_bias(context, channels, &weights.pp("to_v"))?,
            to_out: linear(channels, channels, &weights.pp("to_out.0"))?,
        })
    }

    /// What `x` finds in `context`, and `around`.
    fn forward(&self, x: &Tensor, context: &Tensor, around: &Tensor) -> CandleResult<Tensor> {
        let (q, k, v) = (self.to_q.forward(x)?, self.to_k.forward(context)?, self.to_v.forward(context)?);
        let how = Attend { score_dtype: self.score_dtype, ..Attend::default() };
        self.to_out.forward_around(&attend_tokens([&q, &k, &v], self.heads, how)?, around)
    }
}

/// With a gate: GEGLU (Shazeer 2020), its GELU by the error function.
struct FeedForward {
    proj: Linear,
    out: Linear,
}

impl FeedForward {
    fn load(channels: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        let inner = channels * FEED_FORWARD_FACTOR;
        Ok(Self {
            proj: linear(channels, 2 * inner, &weights.pp("0.proj"))?,
            out: linear(inner, channels, &weights.pp("2"))?,
        })
    }

    /// The network's result for `x`, and `around`.
    fn forward(&self, x: &Tensor, around: &Tensor) -> CandleResult<Tensor> {
        self.out.forward_around(&self.proj.forward_gated(x)?, around)
    }
}
