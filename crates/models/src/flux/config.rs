//! `transformer/config.json`.

use serde::Deserialize;

use crate::error::Error;
use crate::folder::Folder;

const CONFIG: &str = "config.json";

/// Latents in a patch: 2 × 2.
const PATCH: usize = 4;

/// Widths beyond this are of no model; their multiples still fit any integer.
const MAX_WIDTH: usize = 1 << 20;

/// The fields as diffusers writes them. Those below the line are only read to refuse what is not implemented.
#[derive(Debug, Clone, Deserialize)]
struct RawConfig {
    in_channels: usize,
    num_layers: usize,
    num_single_layers: usize,
    num_attention_heads: usize,
    attention_head_dim: usize,
    joint_attention_dim: usize,
    pooled_projection_dim: usize,
    guidance_embeds: Option<bool>,
    axes_dims_rope: Option<Vec<usize>>,
    // ---
    patch_size: Option<usize>,
    out_channels: Option<usize>,
}

/// What a FLUX transformer looks like.
#[derive(Debug, Clone)]
pub(crate) struct FluxConfig {
    /// Channels of the latents, before they are packed into patches.
    pub(crate) latent_channels: usize,
    /// Width of the text encoder's hidden states.
    pub(crate) text_width: usize,
    /// Width of the pooled text.
    pub(crate) pooled_width: usize,
    /// Whether it is told a guidance scale.
    pub(crate) has_guidance: bool,
    /// Blocks with weights of their own for text and image.
    pub(super) joint_blocks: usize,
    /// Blocks after those, with the same weights for both.
    pub(super) single_blocks: usize,
    pub(super) heads: usize,
    /// Width of a head.
    pub(super) head_size: usize,
    /// How much of a head turns with each coordinate of a position; even numbers that add up to `head_size`.
    pub(super) axes: [usize; 3],
}

impl FluxConfig {
    pub(crate) fn load(folder: &Folder) -> Result<Self, Error> {
        let raw: RawConfig = folder.json(CONFIG)?;
        raw.check_variants()?;
        raw.build().map_err(|reason| folder.invalid(CONFIG, reason))
    }

    /// Width of a token.
    pub(super) fn width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Width of a packed patch of latents.
    pub(super) fn patch_width(&self) -> usize {
        self.latent_channels * PATCH
    }
}

impl RawConfig {
    fn check_variants(&self) -> Result<(), Error> {
        let unusual = [
            ("patch_size", self.patch_size.is_some_and(|size| size != 1)),
            ("out_channels", self.out_channels.is_some_and(|channels| channels != self.in_channels)),
        ];
        match unusual.into_iter().find(|(_, unusual)| *unusual) {
            Some((field, _)) => Err(Error::Unsupported(format!(
                "the model's transformer sets {field} to a value that is not implemented"
            ))),
            None => Ok(()),
        }
    }

    fn build(self) -> Result<FluxConfig, String> {
        let (heads, head_size) = (self.num_attention_heads, self.attention_head_dim);
        if !heads.checked_mul(head_size).is_some_and(|width| (1..=MAX_WIDTH).contains(&width)) {
            return Err(format!(
                "num_attention_heads is {heads} and attention_head_dim {head_size}, and their product must be \
                 1 to {MAX_WIDTH}"
            ));
        }
        if !(1..=MAX_WIDTH).contains(&self.in_channels) || !self.in_channels.is_multiple_of(PATCH) {
            return Err(format!("in_channels is {}, and must be a multiple of {PATCH}", self.in_channels));
        }
        let axes = self.axes_dims_rope.unwrap_or_else(|| vec![16, 56, 56]);
        let sum = axes.iter().try_fold(0usize, |sum, axis| sum.checked_add(*axis));
        let axes = <[usize; 3]>::try_from(axes)
            .ok()
            .filter(|axes| sum == Some(head_size) && axes.iter().all(|axis| axis.is_multiple_of(2)));
        let axes = axes.ok_or_else(|| {
            format!(
                "axes_dims_rope must be three even numbers that add up to attention_head_dim, {head_size}"
            )
        })?;
        Ok(FluxConfig {
            latent_channels: self.in_channels / PATCH,
            text_width: self.joint_attention_dim,
            pooled_width: self.pooled_projection_dim,
            has_guidance: self.guidance_embeds.unwrap_or(false),
            joint_blocks: self.num_layers,
            single_blocks: self.num_single_layers,
            heads,
            head_size,
            axes,
        })
    }
}
