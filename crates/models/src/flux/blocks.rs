//! The two kinds of transformer blocks.

use candle_core::{D, DType, Result as CandleResult, Tensor};

use super::attention::{Projected, Projection, ProjectionNames};
use super::config::FluxConfig;
use super::rotary::Rotary;
use crate::error::Error;
use crate::feed_forward::{FEED_FORWARD_FACTOR, FeedForward};
use crate::layers::{Linear, linear};
use crate::modulation::{Modulation, gated, normed};
use crate::weights::Weights;

/// The largest finite number of f16.
const F16_MAX: f64 = 65_504.0;

/// Text and image with weights of their own, attending to each other; diffusers `FluxTransformerBlock`.
pub(super) struct JointBlock {
    text: Stream,
    image: Stream,
}

/// Names of the layers of a [`Stream`].
struct StreamNames {
    norm: &'static str,
    projection: ProjectionNames,
    out: &'static str,
    feed_forward: &'static str,
}

impl StreamNames {
    const TEXT: Self = Self {
        norm: "norm1_context",
        projection: ProjectionNames::ADDED,
        out: "attn.to_add_out",
        feed_forward: "ff_context.net",
    };
    const IMAGE: Self = Self {
        norm: "norm1",
        projection: ProjectionNames::OWN,
        out: "attn.to_out.0",
        feed_forward: "ff.net",
    };
}

/// What a [`JointBlock`] does to the tokens of text or image.
struct Stream {
    modulation: Modulation<6>,
    projection: Projection,
    out: Linear,
    feed_forward: FeedForward,
}

/// What a stream keeps until attention is done: each `(batch, 1, width)`.
struct Kept {
    attention_gate: Tensor,
    shift: Tensor,
    scale: Tensor,
    gate: Tensor,
}

impl JointBlock {
    pub(super) fn load(config: &FluxConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        Ok(Self {
            text: Stream::load(&StreamNames::TEXT, config, weights)?,
            image: Stream::load(&StreamNames::IMAGE, config, weights)?,
        })
    }

    /// `text` and `image`: contiguous `(batch, tokens, width)`, and so are the results. `vector`:
    /// `(batch, width)`, already through the activation.
    pub(super) fn forward(
        &self,
        (text, image): (&Tensor, &Tensor),
        vector: &Tensor,
        heads: usize,
        rotary: &Rotary,
    ) -> CandleResult<(Tensor, Tensor)> {
        let (text_projected, text_kept) = self.text.project(text, vector)?;
        let (image_projected, image_kept) = self.image.project(image, vector)?;
        let attended = text_projected.then(&image_projected)?.attend(heads, rotary)?;
        let (texts, images) = (text.dim(1)?, image.dim(1)?);
        let text = self.text.finish(text, &attended.narrow(1, 0, texts)?, &text_kept)?;
        let image = self.image.finish(image, &attended.narrow(1, texts, images)?, &image_kept)?;
        Ok((finite(text)?, image))
    }
}

impl Stream {
    fn load(names: &StreamNames, config: &FluxConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let width = config.width();
        Ok(Self {
            modulation: Modulation::load(width, &weights.pp(names.norm))?,
            projection: Projection::load(&names.projection, config, &weights.pp("attn"))?,
            out: linear(width, width, &weights.pp(names.out))?,
            feed_forward: FeedForward::load(width, &weights.pp(names.feed_forward))?,
        })
    }

    fn project(&self, x: &Tensor, vector: &Tensor) -> CandleResult<(Projected, Kept)> {
        let [attention_shift, attention_scale, attention_gate, shift, scale, gate] =
            self.modulation.forward(vector)?;
        let projected = self.projection.forward(&normed(x, &attention_scale, &attention_shift)?)?;
        Ok((projected, Kept { attention_gate, shift, scale, gate }))
    }

    fn finish(&self, x: &Tensor, attended: &Tensor, kept: &Kept) -> CandleResult<Tensor> {
        let x = gated(x, &kept.attention_gate, &self.out.forward(&attended.contiguous()?)?)?;
        let change = self.feed_forward.forward(&normed(&x, &kept.scale, &kept.shift)?)?;
        gated(&x, &kept.gate, &change)
    }
}

/// Text and image as one sequence with the same weights, feed-forward network and attention side by side;
/// diffusers `FluxSingleTransformerBlock`.
pub(super) struct SingleBlock {
    modulation: Modulation<3>,
    projection: Projection,
    proj_mlp: Linear,
    proj_out: Linear,
}

impl SingleBlock {
    pub(super) fn load(config: &FluxConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let width = config.width();
        let inner = width * FEED_FORWARD_FACTOR;
        Ok(Self {
            modulation: Modulation::load(width, &weights.pp("norm"))?,
            projection: Projection::load(&ProjectionNames::OWN, config, &weights.pp("attn"))?,
            proj_mlp: linear(width, inner, &weights.pp("proj_mlp"))?,
            proj_out: linear(width + inner, width, &weights.pp("proj_out"))?,
        })
    }

    /// Contiguous `(batch, tokens, width)`, first those of the text, to the same. `vector`: as of
    /// [`JointBlock::forward`].
    pub(super) fn forward(
        &self,
        x: &Tensor,
        vector: &Tensor,
        heads: usize,
        rotary: &Rotary,
    ) -> CandleResult<Tensor> {
        let [shift, scale, gate] = self.modulation.forward(vector)?;
        let normed = normed(x, &scale, &shift)?;
        let attended = self.projection.forward(&normed)?.attend(heads, rotary)?;
        let inner = self.proj_mlp.forward(&normed)?.gelu()?;
        let change = self.proj_out.forward(&Tensor::cat(&[attended, inner], D::Minus1)?)?;
        finite(gated(x, &gate, &change)?)
    }
}

/// Brings what does not fit f16 back to its bounds, as the reference does.
fn finite(x: Tensor) -> CandleResult<Tensor> {
    match x.dtype() {
        DType::F16 => x.clamp(-F16_MAX, F16_MAX),
        _ => Ok(x),
    }
}
