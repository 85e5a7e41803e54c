//! Attention in the middle of encoder and decoder.

use candle_core::Result as CandleResult;

use crate::attention::{Attend, attend};
use crate::error::Error;
use crate::layers::{Linear, linear, linear_from_conv};
use crate::planes::{Dims, GroupNorm, Groups, Planes};
use crate::resnet::{Resnet, ResnetShape};
use crate::weights::Weights;

/// Two residual blocks, and attention between them where the configuration has it; diffusers
/// `UNetMidBlock2D`.
pub(super) struct MidBlock {
    first: Resnet,
    attention: Option<Attention>,
    second: Resnet,
}

impl MidBlock {
    /// `channels`: of the input and the output.
    pub(super) fn load(
        channels: usize,
        config: &super::VaeConfig,
        weights: &Weights<'_>,
    ) -> Result<Self, Error> {
        let groups = config.groups();
        let resnet = |index: usize| {
            let shape = ResnetShape { inputs: channels, outputs: channels, time: None };
            Resnet::load(shape, groups, &weights.pp("resnets").pp(index))
        };
        let attention = config
            .mid_block_add_attention
            .unwrap_or(true)
            .then(|| Attention::load(channels, groups, &weights.pp("attentions.0")))
            .transpose()?;
        Ok(Self { first: resnet(0)?, attention, second: resnet(1)? })
    }

    /// The result is like `x`.
    pub(super) fn forward(&self, x: &Planes) -> CandleResult<Planes> {
        let mut x = self.first.forward(x, None)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(&x)?;
        }
        self.second.forward(&x, None)
    }
}

/// Self-attention with one head over all positions.
struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl Attention {
    /// Weights by their names of today, or by those of repositories from before diffusers 0.15, which are also
    /// stored as 1 × 1 convolutions where they were converted from the original checkpoints.
    fn load(channels: usize, groups: Groups, weights: &Weights<'_>) -> Result<Self, Error> {
        let names = if weights.has("query.weight") {
            ["query", "key", "value", "proj_attn"]
        } else {
            ["to_q", "to_k", "to_v", "to_out.0"]
        };
        let [to_q, to_k, to_v, to_out] = names.map(|name| {
            let weights = weights.pp(name);
            match weights.rank("weight") {
                Some(4) => linear_from_conv(channels, channels, &weights),
                _ => linear(channels, channels, &weights),
            }
        });
        let group_norm = groups.norm(channels, &weights.pp("group_norm"))?;
        Ok(Self { group_norm, to_q: to_q?, to_k: to_k?, to_v: to_v?, to_out: to_out? })
    }

    /// The result is like `x`.
    fn forward(&self, x: &Planes) -> CandleResult<Planes> {
        let Dims { height, width, .. } = x.dims()?;
        let tokens = self.group_norm.forward(x)?.tokens()?;
        let (q, k) = (self.to_q.forward(&tokens)?, self.to_k.forward(&tokens)?);
        let attended = attend(&q, &k, &self.to_v.forward(&tokens)?, Attend::default())?;
        x.add(&Planes::from_tokens(&self.to_out.forward(&attended)?, height, width)?)
    }
}
