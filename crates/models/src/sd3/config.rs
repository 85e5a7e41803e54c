//! `transformer/config.json`.

use serde::Deserialize;

use crate::error::Error;
use crate::folder::Folder;

const CONFIG: &str = "config.json";

/// Bounds that no model comes near to, so that products of sizes fit any integer.
const MAX_PATCH: usize = 64;
const MAX_PATCHES: usize = 1 << 14;
const MAX_LAYERS: usize = 1 << 10;
const MAX_WIDTH: usize = 1 << 16;

/// The fields as diffusers writes them, with its defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct RawConfig {
    patch_size: usize,
    in_channels: usize,
    num_layers: usize,
    attention_head_dim: usize,
    num_attention_heads: usize,
    joint_attention_dim: usize,
    caption_projection_dim: usize,
    pooled_projection_dim: usize,
    out_channels: Option<usize>,
    pos_embed_max_size: Option<usize>,
    dual_attention_layers: Vec<usize>,
    qk_norm: Option<String>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            patch_size: 2,
            in_channels: 16,
            num_layers: 18,
            attention_head_dim: 64,
            num_attention_heads: 18,
            joint_attention_dim: 4096,
            caption_projection_dim: 1152,
            pooled_projection_dim: 2048,
            out_channels: Some(16),
            pos_embed_max_size: Some(96),
            dual_attention_layers: Vec::new(),
            qk_norm: None,
        }
    }
}

/// What a transformer looks like.
#[derive(Debug, Clone)]
pub(crate) struct Sd3Config {
    /// How many latents a patch is wide and high.
    pub(crate) patch_size: usize,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    /// Width of the text's hidden states.
    pub(crate) joint_attention_dim: usize,
    /// Width of the text as one vector.
    pub(crate) pooled_projection_dim: usize,
    pub(super) num_layers: usize,
    pub(super) head_size: usize,
    pub(super) heads: usize,
    /// Patches of the longest side that positions are known for.
    pub(super) max_patches: usize,
    /// Layers in which the picture also attends to itself alone.
    pub(super) dual_attention_layers: Vec<usize>,
    /// Whether queries and keys are normalised.
    pub(super) normalises_heads: bool,
}

impl Sd3Config {
    pub(crate) fn load(folder: &Folder) -> Result<Self, Error> {
        let raw: RawConfig = folder.json(CONFIG)?;
        let unsupported = |field: &str| {
            let message = format!("the model's transformer sets {field} to a value that is not implemented");
            Error::Unsupported(message)
        };
        let normalises_heads = match raw.qk_norm.as_deref() {
            None => false,
            Some("rms_norm") => true,
            Some(_) => return Err(unsupported("qk_norm")),
        };
        let max_patches = raw.pos_embed_max_size.filter(|size| *size > 0);
        let max_patches = max_patches.ok_or_else(|| unsupported("pos_embed_max_size"))?;
        raw.check().map_err(|reason| folder.invalid(CONFIG, reason))?;
        Ok(Self {
            patch_size: raw.patch_size,
            in_channels: raw.in_channels,
            out_channels: raw.out_channels.unwrap_or(raw.in_channels),
            joint_attention_dim: raw.joint_attention_dim,
            pooled_projection_dim: raw.pooled_projection_dim,
            num_layers: raw.num_layers,
            head_size: raw.attention_head_dim,
            heads: raw.num_attention_heads,
            max_patches,
            dual_attention_layers: raw.dual_attention_layers,
            normalises_heads,
        })
    }

    /// Width of the hidden states.
    pub(super) fn width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Most latents of a side.
    pub(crate) fn max_side(&self) -> usize {
        self.max_patches * self.patch_size
    }
}

impl RawConfig {
    fn check(&self) -> Result<(), String> {
        for (field, value, most) in [
            ("patch_size", self.patch_size, MAX_PATCH),
            ("pos_embed_max_size", self.pos_embed_max_size.unwrap_or_default(), MAX_PATCHES),
            ("num_layers", self.num_layers, MAX_LAYERS),
            ("attention_head_dim", self.attention_head_dim, MAX_WIDTH),
            ("num_attention_heads", self.num_attention_heads, MAX_WIDTH),
            ("in_channels", self.in_channels, MAX_WIDTH),
            ("out_channels", self.out_channels.unwrap_or(self.in_channels), MAX_WIDTH),
            ("joint_attention_dim", self.joint_attention_dim, MAX_WIDTH),
            ("pooled_projection_dim", self.pooled_projection_dim, MAX_WIDTH),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{field} is {value}, and must be 1 to {most}"));
            }
        }
        let width = self.num_attention_heads * self.attention_head_dim;
        if width != self.caption_projection_dim {
            return Err(format!(
                "caption_projection_dim is {}, and num_attention_heads times attention_head_dim is {width}",
                self.caption_projection_dim
            ));
        }
        let layers = self.num_layers;
        match self.dual_attention_layers.iter().find(|layer| **layer >= layers) {
            Some(layer) => Err(format!("dual_attention_layers has {layer}, and num_layers is {layers}")),
            None => Ok(()),
        }
    }
}
