//! One layer of the transformer; diffusers `JointTransformerBlock`.

use candle_core::{Result as CandleResult, Tensor};

use super::attention::{JointAttention, SelfAttention};
use super::config::Sd3Config;
use crate::error::Error;
use crate::feed_forward::FeedForward;
use crate::modulation::{Modulation, gated, normed};
use crate::weights::Weights;

pub(super) struct JointBlock {
    picture: PicturePart,
    attention: JointAttention,
    feed_forward: FeedForward,
    text: TextPart,
}

/// How the picture takes part.
enum PicturePart {
    Joint(Modulation<6>),
    /// It also attends to itself alone.
    Dual(Modulation<9>, SelfAttention),
}

/// How the text takes part.
enum TextPart {
    Continues(Modulation<6>, FeedForward),
    /// It is only attended to, in the last layer.
    Ends(Modulation<2>),
}

impl JointBlock {
    pub(super) fn load(config: &Sd3Config, index: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        let width = config.width();
        let (norm, text_norm) = (weights.pp("norm1"), weights.pp("norm1_context"));
        let attention = weights.pp("attn");
        let picture = if config.dual_attention_layers.contains(&index) {
            let attention = SelfAttention::load(config, &weights.pp("attn2"))?;
            PicturePart::Dual(Modulation::load(width, &norm)?, attention)
        } else {
            PicturePart::Joint(Modulation::load(width, &norm)?)
        };
        let (text, attention) = if index + 1 < config.num_layers {
            let feed_forward = FeedForward::load(width, &weights.pp("ff_context.net"))?;
            let text = TextPart::Continues(Modulation::load(width, &text_norm)?, feed_forward);
            (text, JointAttention::load(config, &attention)?)
        } else {
            let text = TextPart::Ends(Modulation::load(width, &text_norm)?);
            (text, JointAttention::load_last(config, &attention)?)
        };
        let feed_forward = FeedForward::load(width, &weights.pp("ff.net"))?;
        Ok(Self { picture, attention, feed_forward, text })
    }

    /// Picture `(batch, patches, width)` and text `(batch, tokens, width)` to the same; the last layer gives no
    /// text. `whole`: `(batch, width)`, already through its activation.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        text: &Tensor,
        whole: &Tensor,
    ) -> CandleResult<(Tensor, Option<Tensor>)> {
        match &self.picture {
            PicturePart::Joint(modulation) => {
                let [shift, scale, gate, after @ ..] = modulation.forward(whole)?;
                let (attended, text) = self.attend(&normed(x, &scale, &shift)?, text, whole)?;
                let x = gated(x, &gate, &attended)?;
                Ok((fed_forward(&self.feed_forward, &x, &after)?, text))
            }
            PicturePart::Dual(modulation, attention) => {
                let [shift, scale, gate, mlp_shift, mlp_scale, mlp_gate, shift_2, scale_2, gate_2] =
                    modulation.forward(whole)?;
                let (attended, text) = self.attend(&normed(x, &scale, &shift)?, text, whole)?;
                let alone = attention.forward(&normed(x, &scale_2, &shift_2)?)?;
                let x = gated(&gated(x, &gate, &attended)?, &gate_2, &alone)?;
                Ok((fed_forward(&self.feed_forward, &x, &[mlp_shift, mlp_scale, mlp_gate])?, text))
            }
        }
    }

    /// What the picture gets of itself and the text, and the text after this layer.
    fn attend(&self, x: &Tensor, text: &Tensor, whole: &Tensor) -> CandleResult<(Tensor, Option<Tensor>)> {
        match &self.text {
            TextPart::Ends(modulation) => {
                let [scale, shift] = modulation.forward(whole)?;
                self.attention.forward(x, &normed(text, &scale, &shift)?)
            }
            TextPart::Continues(modulation, feed_forward) => {
                let [shift, scale, gate, after @ ..] = modulation.forward(whole)?;
                let (x, attended) = self.attention.forward(x, &normed(text, &scale, &shift)?)?;
                let next = |attended| fed_forward(feed_forward, &gated(text, &gate, &attended)?, &after);
                Ok((x, attended.map(next).transpose()?))
            }
        }
    }
}

/// What a feed-forward network makes of `x`, `(batch, tokens, width)`, between normalisation and gate: shift,
/// scale and gate, each `(batch, 1, width)`.
fn fed_forward(
    network: &FeedForward,
    x: &Tensor,
    [shift, scale, gate]: &[Tensor; 3],
) -> CandleResult<Tensor> {
    gated(x, gate, &network.forward(&normed(x, scale, shift)?)?)
}
