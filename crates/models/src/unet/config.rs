//! `unet/config.json`.

use serde::Deserialize;

use super::time::SIZE_NUMBERS;
use crate::error::Error;
use crate::folder::{Folder, PerBlock};
use crate::planes::Groups;
use crate::timestep::Sinusoid;

const CONFIG: &str = "config.json";

/// The fields as diffusers writes them. Those below the line are only read to refuse what is not implemented.
#[derive(Debug, Clone, Deserialize)]
struct RawConfig {
    in_channels: usize,
    out_channels: usize,
    block_out_channels: Vec<usize>,
    layers_per_block: PerBlock,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    cross_attention_dim: PerBlock,
    attention_head_dim: Option<PerBlock>,
    num_attention_heads: Option<PerBlock>,
    transformer_layers_per_block: Option<PerBlock>,
    norm_num_groups: Option<usize>,
    norm_eps: Option<f64>,
    flip_sin_to_cos: Option<bool>,
    freq_shift: Option<f32>,
    use_linear_projection: Option<bool>,
    upcast_attention: Option<bool>,
    addition_embed_type: Option<String>,
    addition_time_embed_dim: Option<usize>,
    projection_class_embeddings_input_dim: Option<usize>,
    // ---
    act_fn: Option<String>,
    mid_block_type: Option<String>,
    time_embedding_type: Option<String>,
    resnet_time_scale_shift: Option<String>,
    attention_type: Option<String>,
    center_input_sample: Option<bool>,
    dual_cross_attention: Option<bool>,
    only_cross_attention: Option<serde_json::Value>,
    class_embed_type: Option<String>,
    encoder_hid_dim_type: Option<String>,
    encoder_hid_dim: Option<usize>,
    num_class_embeds: Option<usize>,
    time_cond_proj_dim: Option<usize>,
    time_embedding_dim: Option<usize>,
    time_embedding_act_fn: Option<String>,
    timestep_post_act: Option<String>,
    cross_attention_norm: Option<String>,
    conv_in_kernel: Option<usize>,
    conv_out_kernel: Option<usize>,
    downsample_padding: Option<usize>,
    mid_block_scale_factor: Option<f64>,
    resnet_out_scale_factor: Option<f64>,
}

/// What a U-Net looks like.
#[derive(Debug, Clone)]
pub(crate) struct UnetConfig {
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) cross_attention_dim: usize,
    /// From the full size down.
    pub(super) blocks: Vec<BlockConfig>,
    /// Whether each up block, from the deepest up, has attention.
    up_attention: Vec<bool>,
    pub(super) groups: Groups,
    pub(super) sinusoid: Sinusoid,
    pub(super) use_linear_projection: bool,
    pub(super) upcast_attention: bool,
    pub(super) added: Option<AddedConfig>,
}

/// What SDXL's denoiser is told besides the timestep (`addition_embed_type: text_time`).
#[derive(Debug, Clone, Copy)]
pub(super) struct AddedConfig {
    /// Width of the pooled text.
    pub(super) pooled: usize,
    /// How each of the six numbers of size and crop becomes a vector.
    pub(super) sinusoid: Sinusoid,
}

/// What a down block and its counterpart look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockConfig {
    pub(super) channels: usize,
    /// Residual blocks in the down block; the up block has one more.
    pub(super) layers: usize,
    /// Heads of its attention.
    pub(super) heads: usize,
    /// Transformer blocks in each of its attentions.
    pub(super) depth: usize,
    pub(super) has_attention: bool,
    /// Channels of the next block towards the full size.
    pub(super) outer_channels: usize,
    /// Whether the down block halves the size; the deepest does not.
    pub(super) halves: bool,
    /// Whether the up block doubles the size; the outermost does not.
    pub(super) doubles: bool,
}

impl UnetConfig {
    pub(crate) fn load(folder: &Folder) -> Result<Self, Error> {
        let raw: RawConfig = folder.json(CONFIG)?;
        raw.check_variants()?;
        raw.build().map_err(|reason| folder.invalid(CONFIG, reason))
    }

    pub(super) fn deepest(&self) -> &BlockConfig {
        &self.blocks[self.blocks.len() - 1]
    }

    /// Width of the pooled text that the model is told, if it is told one.
    pub(crate) fn pooled_width(&self) -> Option<usize> {
        self.added.map(|added| added.pooled)
    }

    /// The blocks as the way up meets them.
    pub(super) fn up_blocks(&self) -> impl Iterator<Item = BlockConfig> {
        self.blocks
            .iter()
            .rev()
            .zip(&self.up_attention)
            .map(|(block, has_attention)| BlockConfig { has_attention: *has_attention, ..*block })
    }
}

impl RawConfig {
    fn check_variants(&self) -> Result<(), Error> {
        let not = |field: &Option<String>, usual: &str| field.as_ref().is_some_and(|value| value != usual);
        let is_set = |value: &serde_json::Value| match value {
            serde_json::Value::Array(values) => values.contains(&serde_json::Value::Bool(true)),
            value => *value == serde_json::Value::Bool(true),
        };
        let unusual = [
            ("act_fn", not(&self.act_fn, "silu")),
            ("mid_block_type", not(&self.mid_block_type, "UNetMidBlock2DCrossAttn")),
            ("time_embedding_type", not(&self.time_embedding_type, "positional")),
            ("resnet_time_scale_shift", not(&self.resnet_time_scale_shift, "default")),
            ("attention_type", not(&self.attention_type, "default")),
            ("center_input_sample", self.center_input_sample == Some(true)),
            ("dual_cross_attention", self.dual_cross_attention == Some(true)),
            ("only_cross_attention", self.only_cross_attention.as_ref().is_some_and(is_set)),
            ("addition_embed_type", not(&self.addition_embed_type, "text_time")),
            ("class_embed_type", self.class_embed_type.is_some()),
            ("encoder_hid_dim_type", self.encoder_hid_dim_type.is_some()),
            ("encoder_hid_dim", self.encoder_hid_dim.is_some()),
            ("num_class_embeds", self.num_class_embeds.is_some()),
            ("time_cond_proj_dim", self.time_cond_proj_dim.is_some()),
            ("time_embedding_dim", self.time_embedding_dim.is_some()),
            ("time_embedding_act_fn", self.time_embedding_act_fn.is_some()),
            ("timestep_post_act", self.timestep_post_act.is_some()),
            ("cross_attention_norm", self.cross_attention_norm.is_some()),
            ("conv_in_kernel", self.conv_in_kernel.is_some_and(|size| size != 3)),
            ("conv_out_kernel", self.conv_out_kernel.is_some_and(|size| size != 3)),
            ("downsample_padding", self.downsample_padding.is_some_and(|padding| padding != 1)),
            ("mid_block_scale_factor", self.mid_block_scale_factor.is_some_and(|factor| factor != 1.0)),
            ("resnet_out_scale_factor", self.resnet_out_scale_factor.is_some_and(|factor| factor != 1.0)),
        ];
        match unusual.into_iter().find(|(_, unusual)| *unusual) {
            Some((field, _)) => Err(Error::Unsupported(format!(
                "the model's UNet sets {field} to a value that is not implemented"
            ))),
            None => Ok(()),
        }
    }

    fn build(self) -> Result<UnetConfig, String> {
        let blocks = self.blocks()?;
        let up_attention = attention_of(&self.up_block_types, "CrossAttnUpBlock2D", "UpBlock2D")?;
        let groups = Groups { count: self.norm_num_groups.unwrap_or(32), eps: self.norm_eps.unwrap_or(1e-5) };
        if up_attention.len() != blocks.len() {
            return Err("up_block_types and block_out_channels differ in length".to_owned());
        }
        if groups.count == 0 || blocks.iter().any(|block| !block.channels.is_multiple_of(groups.count)) {
            return Err("block_out_channels are not multiples of norm_num_groups".to_owned());
        }
        if !blocks[0].channels.is_multiple_of(2) {
            return Err("the first of block_out_channels is odd".to_owned());
        }
        let PerBlock::All(cross_attention_dim) = self.cross_attention_dim else {
            return Err("cross_attention_dim is a list, and one number is expected".to_owned());
        };
        let sinusoid = Sinusoid {
            width: blocks[0].channels,
            flip_sin_to_cos: self.flip_sin_to_cos.unwrap_or(true),
            freq_shift: self.freq_shift.unwrap_or(0.0),
        };
        Ok(UnetConfig {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            cross_attention_dim,
            added: self.added(sinusoid)?,
            sinusoid,
            blocks,
            up_attention,
            groups,
            use_linear_projection: self.use_linear_projection.unwrap_or(false),
            upcast_attention: self.upcast_attention.unwrap_or(false),
        })
    }

    fn added(&self, sinusoid: Sinusoid) -> Result<Option<AddedConfig>, String> {
        if self.addition_embed_type.is_none() {
            return Ok(None);
        }
        let (Some(width), Some(all)) =
            (self.addition_time_embed_dim, self.projection_class_embeddings_input_dim)
        else {
            let message = "addition_time_embed_dim and projection_class_embeddings_input_dim go with addition_embed_type";
            return Err(message.to_owned());
        };
        let numbers = width.checked_mul(SIZE_NUMBERS).filter(|_| width.is_multiple_of(2));
        let pooled = numbers.and_then(|numbers| all.checked_sub(numbers)).filter(|pooled| *pooled > 0);
        let message = "projection_class_embeddings_input_dim has no room for 6 even addition_time_embed_dim";
        let pooled = pooled.ok_or(message)?;
        Ok(Some(AddedConfig { pooled, sinusoid: Sinusoid { width, ..sinusoid } }))
    }

    fn blocks(&self) -> Result<Vec<BlockConfig>, String> {
        let count = self.block_out_channels.len();
        if count == 0 {
            return Err("block_out_channels is empty".to_owned());
        }
        let spread = |name: &str, field: Option<&PerBlock>, default: usize| {
            let field = field.unwrap_or(&PerBlock::All(default)).spread(count);
            field.ok_or_else(|| format!("{name} does not have {count} entries"))
        };
        // What diffusers calls `attention_head_dim` has always been the number of heads; the field with the
        // right name came later and, where it is set, has the last word.
        let heads = self.num_attention_heads.as_ref().or(self.attention_head_dim.as_ref());
        let heads = spread("attention_head_dim", heads, 8)?;
        let layers = spread("layers_per_block", Some(&self.layers_per_block), 2)?;
        let depth = self.transformer_layers_per_block.as_ref();
        let depth = spread("transformer_layers_per_block", depth, 1)?;
        let attention = attention_of(&self.down_block_types, "CrossAttnDownBlock2D", "DownBlock2D")?;
        if attention.len() != count {
            return Err("down_block_types and block_out_channels differ in length".to_owned());
        }
        let block = |index: usize| {
            let channels = self.block_out_channels[index];
            if heads[index] == 0 || !channels.is_multiple_of(heads[index]) {
                return Err(format!("{channels} channels do not divide into {} heads", heads[index]));
            }
            Ok(BlockConfig {
                channels,
                layers: layers[index],
                heads: heads[index],
                depth: depth[index],
                has_attention: attention[index],
                outer_channels: self.block_out_channels[index.saturating_sub(1)],
                halves: index + 1 < count,
                doubles: index > 0,
            })
        };
        (0..count).map(block).collect()
    }
}

fn attention_of(types: &[String], with: &str, without: &str) -> Result<Vec<bool>, String> {
    let attention = |kind: &String| match kind {
        kind if kind == with => Ok(true),
        kind if kind == without => Ok(false),
        kind => Err(format!("block type {kind} is neither {with} nor {without}")),
    };
    types.iter().map(attention).collect()
}
