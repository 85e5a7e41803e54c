//! The names that the layers of denoisers have in the original implementations, and in LoRAs trained on those.
//!
//! As diffusers' conversions of checkpoints and LoRAs have them (`convert_diffusers_to_original_*`,
//! `single_file_utils.py`, `lora_conversion_utils.py`).

use std::collections::{BTreeMap, BTreeSet};

/// How the blocks of a denoiser are counted.
#[derive(Debug, Default)]
pub(super) struct Original {
    /// Residual blocks of each down block of a U-Net.
    down: Vec<usize>,
    /// Residual blocks of each up block, and whether it has attention.
    up: Vec<(usize, bool)>,
    /// Blocks of a transformer that change the text: in Stable Diffusion 3 all but the last.
    text: BTreeSet<String>,
}

/// A weight, as a part of a layer of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Which of all weights it is.
    pub(super) index: usize,
    pub(super) order: Order,
}

/// How the rows of a weight are ordered in the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Same,
    /// Shift before scale, where diffusers has scale before shift.
    HalvesSwapped,
}

/// A layer of the original: its name, and which part of its rows a layer of diffusers is.
type Named = (String, usize);

impl Original {
    /// `names`: of all layers, as diffusers has them.
    pub(super) fn of(names: &[&str]) -> Self {
        let mut blocks = Self::default();
        for name in names {
            match name.split('.').collect::<Vec<_>>()[..] {
                ["down_blocks", block, "resnets", layer, ..] => {
                    if let (Ok(block), Ok(layer)) = (block.parse::<usize>(), layer.parse::<usize>()) {
                        let count = at(&mut blocks.down, block);
                        *count = layer.saturating_add(1).max(*count);
                    }
                }
                ["up_blocks", block, kind @ ("resnets" | "attentions"), layer, ..] => {
                    if let (Ok(block), Ok(layer)) = (block.parse::<usize>(), layer.parse::<usize>()) {
                        let (count, has_attention) = at(&mut blocks.up, block);
                        *count = layer.saturating_add(1).max(*count);
                        *has_attention |= kind == "attentions";
                    }
                }
                ["transformer_blocks", block, "attn", "to_add_out"] => {
                    blocks.text.insert(block.to_owned());
                }
                _ => {}
            }
        }
        blocks
    }

    /// The layers of the originals, each with the parts that make it up, by indices in `names`.
    pub(super) fn layers(&self, names: &[&str]) -> BTreeMap<String, Vec<Part>> {
        let mut layers = BTreeMap::<String, BTreeMap<usize, Part>>::new();
        for (index, name) in names.iter().enumerate() {
            let parts = name.split('.').collect::<Vec<_>>();
            let unet = self.unet(&parts).map(|name| (name, 0));
            let same = [unet, flux(&parts), xlabs(&parts), stable_diffusion_3(&parts), last_linear(&parts)];
            let same = same.into_iter().flatten().map(|named| (named, Order::Same));
            let modulation = self.text_modulation(&parts).or_else(|| last_modulation(&parts));
            for ((name, number), order) in same.chain(modulation) {
                layers.entry(name).or_default().insert(number, Part { index, order });
            }
        }
        layers.into_iter().map(|(name, parts)| (name, parts.into_values().collect())).collect()
    }

    /// The layer of a U-Net in the implementation of latent diffusion.
    fn unet(&self, parts: &[&str]) -> Option<String> {
        let number = |digits: &str| digits.parse::<usize>().ok();
        Some(match parts {
            ["conv_in"] => "input_blocks.0.0".to_owned(),
            ["conv_out"] => "out.2".to_owned(),
            ["time_embedding", "linear_1"] => "time_embed.0".to_owned(),
            ["time_embedding", "linear_2"] => "time_embed.2".to_owned(),
            ["add_embedding", "linear_1"] => "label_emb.0.0".to_owned(),
            ["add_embedding", "linear_2"] => "label_emb.0.2".to_owned(),
            ["down_blocks", block, "downsamplers", "0", "conv"] => {
                let block = number(block)?;
                format!("input_blocks.{}.0.op", self.first_input(block) + self.down.get(block)?)
            }
            ["down_blocks", block, kind, layer, rest @ ..] => {
                let (kind, rest) = inner(kind, rest)?;
                format!("input_blocks.{}.{kind}.{rest}", self.first_input(number(block)?) + number(layer)?)
            }
            ["mid_block", "resnets", layer, rest @ ..] => {
                format!("middle_block.{}.{}", 2 * number(layer)?, inner("resnets", rest)?.1)
            }
            ["mid_block", "attentions", "0", rest @ ..] => format!("middle_block.1.{}", rest.join(".")),
            ["up_blocks", block, "upsamplers", "0", "conv"] => {
                let block = number(block)?;
                let (layers, has_attention) = self.up.get(block)?;
                let last = (self.first_output(block) + layers).checked_sub(1)?;
                format!("output_blocks.{last}.{}.conv", 1 + usize::from(*has_attention))
            }
            ["up_blocks", block, kind, layer, rest @ ..] => {
                let (kind, rest) = inner(kind, rest)?;
                format!("output_blocks.{}.{kind}.{rest}", self.first_output(number(block)?) + number(layer)?)
            }
            _ => return None,
        })
    }

    /// The modulation of the text in Stability AI's implementation. The last block shifts and scales it only.
    fn text_modulation(&self, parts: &[&str]) -> Option<(Named, Order)> {
        let ["transformer_blocks", block, "norm1_context", "linear"] = parts else { return None };
        let order = if self.text.contains(*block) { Order::Same } else { Order::HalvesSwapped };
        Some(((format!("joint_blocks_{block}_context_block_adaLN_modulation_1"), 0), order))
    }

    /// The first layer of a down block: the first of all comes after `conv_in`, and each halving counts.
    fn first_input(&self, block: usize) -> usize {
        1 + self.down.iter().take(block).map(|layers| layers + 1).sum::<usize>()
    }

    /// The first layer of an up block: a doubling belongs to the layer before it.
    fn first_output(&self, block: usize) -> usize {
        self.up.iter().take(block).map(|(layers, _)| layers).sum()
    }
}

/// The item at `index`, of a list that grows to hold it. Indices come from checked weights, so they are small.
fn at<T: Clone + Default>(items: &mut Vec<T>, index: usize) -> &mut T {
    if items.len() <= index {
        items.resize(index + 1, T::default());
    }
    &mut items[index]
}

/// Inside a block: the number of the residual block or attention, and the name in it.
fn inner(kind: &str, rest: &[&str]) -> Option<(usize, String)> {
    match (kind, rest) {
        ("attentions", rest) => Some((1, rest.join("."))),
        ("resnets", ["conv1"]) => Some((0, "in_layers.2".to_owned())),
        ("resnets", ["conv2"]) => Some((0, "out_layers.3".to_owned())),
        ("resnets", ["time_emb_proj"]) => Some((0, "emb_layers.1".to_owned())),
        ("resnets", ["conv_shortcut"]) => Some((0, "skip_connection".to_owned())),
        _ => None,
    }
}

/// The layer of FLUX in Black Forest Labs' implementation, which fuses projections.
fn flux(parts: &[&str]) -> Option<Named> {
    let (name, part) = match parts {
        ["transformer_blocks", block, rest @ ..] => {
            let (name, part) = match rest {
                ["attn", "to_out", "0"] => ("img_attn_proj", 0),
                ["attn", "to_add_out"] => ("txt_attn_proj", 0),
                ["attn", projection] => match query_key_value(projection)? {
                    (Stream::Image, part) => ("img_attn_qkv", part),
                    (Stream::Text, part) => ("txt_attn_qkv", part),
                },
                ["ff", "net", "0", "proj"] => ("img_mlp_0", 0),
                ["ff", "net", "2"] => ("img_mlp_2", 0),
                ["ff_context", "net", "0", "proj"] => ("txt_mlp_0", 0),
                ["ff_context", "net", "2"] => ("txt_mlp_2", 0),
                ["norm1", "linear"] => ("img_mod_lin", 0),
                ["norm1_context", "linear"] => ("txt_mod_lin", 0),
                _ => return None,
            };
            (format!("double_blocks_{block}_{name}"), part)
        }
        ["single_transformer_blocks", block, rest @ ..] => {
            let (name, part) = match rest {
                ["attn", projection] => ("linear1", query_key_value(projection)?.1),
                ["proj_mlp"] => ("linear1", 3),
                ["proj_out"] => ("linear2", 0),
                ["norm", "linear"] => ("modulation_lin", 0),
                _ => return None,
            };
            (format!("single_blocks_{block}_{name}"), part)
        }
        ["x_embedder"] => ("img_in".to_owned(), 0),
        ["context_embedder"] => ("txt_in".to_owned(), 0),
        ["time_text_embed", embedder, linear] => {
            let embedder = match *embedder {
                "timestep_embedder" => "time_in",
                "guidance_embedder" => "guidance_in",
                "text_embedder" => "vector_in",
                _ => return None,
            };
            let layer = if *linear == "linear_1" { "in_layer" } else { "out_layer" };
            (format!("{embedder}_{layer}"), 0)
        }
        _ => return None,
    };
    Some((name, part))
}

/// The layer of FLUX in the attention processors of XLabs' trainer, without the `processor` and `lora` that
/// [`super::keys`] takes for parts of the spelling.
fn xlabs(parts: &[&str]) -> Option<Named> {
    let (block, kind, rest) = match parts {
        ["transformer_blocks", block, rest @ ..] => (block, "double", rest),
        ["single_transformer_blocks", block, rest @ ..] => (block, "single", rest),
        _ => return None,
    };
    let (name, part) = match (kind, rest) {
        ("double", ["attn", "to_out", "0"]) => ("proj_lora1", 0),
        ("double", ["attn", "to_add_out"]) => ("proj_lora2", 0),
        ("double", ["attn", projection]) => match query_key_value(projection)? {
            (Stream::Image, part) => ("qkv_lora1", part),
            (Stream::Text, part) => ("qkv_lora2", part),
        },
        ("single", ["attn", projection]) => ("qkv", query_key_value(projection)?.1),
        ("single", ["proj_out"]) => ("proj", 0),
        _ => return None,
    };
    Some((format!("{kind}_blocks_{block}_{name}"), part))
}

/// The layer of Stable Diffusion 3 in Stability AI's implementation, which fuses projections.
fn stable_diffusion_3(parts: &[&str]) -> Option<Named> {
    let (block, rest) = match parts {
        ["transformer_blocks", block, rest @ ..] => (block, rest),
        ["pos_embed", "proj"] => return Some(("x_embedder_proj".to_owned(), 0)),
        ["time_text_embed", embedder, linear] => {
            let embedder = match *embedder {
                "timestep_embedder" => "t_embedder",
                "text_embedder" => "y_embedder",
                _ => return None,
            };
            return Some((format!("{embedder}_mlp_{}", if *linear == "linear_1" { 0 } else { 2 }), 0));
        }
        _ => return None,
    };
    let (name, part) = match rest {
        ["attn", "to_out", "0"] => ("x_block_attn_proj", 0),
        ["attn2", "to_out", "0"] => ("x_block_attn2_proj", 0),
        ["attn", "to_add_out"] => ("context_block_attn_proj", 0),
        ["attn", projection] => match query_key_value(projection)? {
            (Stream::Image, part) => ("x_block_attn_qkv", part),
            (Stream::Text, part) => ("context_block_attn_qkv", part),
        },
        ["attn2", projection] => ("x_block_attn2_qkv", query_key_value(projection)?.1),
        ["ff", "net", "0", "proj"] => ("x_block_mlp_fc1", 0),
        ["ff", "net", "2"] => ("x_block_mlp_fc2", 0),
        ["ff_context", "net", "0", "proj"] => ("context_block_mlp_fc1", 0),
        ["ff_context", "net", "2"] => ("context_block_mlp_fc2", 0),
        ["norm1", "linear"] => ("x_block_adaLN_modulation_1", 0),
        _ => return None,
    };
    Some((format!("joint_blocks_{block}_{name}"), part))
}

/// The projection to patches, in the originals of both transformers.
fn last_linear(parts: &[&str]) -> Option<Named> {
    (parts == ["proj_out"]).then(|| ("final_layer_linear".to_owned(), 0))
}

/// The modulation before it.
fn last_modulation(parts: &[&str]) -> Option<(Named, Order)> {
    let named = ("final_layer_adaLN_modulation_1".to_owned(), 0);
    (parts == ["norm_out", "linear"]).then_some((named, Order::HalvesSwapped))
}

/// What a joint attention attends from.
enum Stream {
    Image,
    Text,
}

fn query_key_value(projection: &str) -> Option<(Stream, usize)> {
    let part = |names: [&str; 3]| names.iter().position(|name| *name == projection);
    let image = part(["to_q", "to_k", "to_v"]).map(|part| (Stream::Image, part));
    image.or_else(|| Some((Stream::Text, part(["add_q_proj", "add_k_proj", "add_v_proj"])?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of Stable Diffusion 1.5: down 3 × (2 with attention), 1 × 2; up 3 of none, 3 × 3 with.
    fn stable_diffusion() -> Vec<String> {
        let mut names = vec!["conv_in".to_owned(), "mid_block.resnets.1.conv2".to_owned()];
        for block in 0..4 {
            let layers = |count: usize, way: &str, has_attention: bool| {
                let each = (0..count).flat_map(move |layer| {
                    let attention = format!("attentions.{layer}.transformer_blocks.0.attn1.to_q");
                    let resnet = ["conv1", "conv2", "time_emb_proj", "conv_shortcut"]
                        .map(|name| format!("resnets.{layer}.{name}"));
                    resnet.into_iter().chain(has_attention.then_some(attention))
                });
                each.map(|layer| format!("{way}_blocks.{block}.{layer}")).collect::<Vec<_>>()
            };
            names.extend(layers(2, "down", block != 3));
            names.extend(layers(3, "up", block != 0));
            if block != 3 {
                names.push(format!("down_blocks.{block}.downsamplers.0.conv"));
                names.push(format!("up_blocks.{block}.upsamplers.0.conv"));
            }
        }
        names
    }

    #[test]
    fn u_net_layers_have_the_numbers_of_latent_diffusion() {
        let names = stable_diffusion();
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        let layers = Original::of(&names).layers(&names);
        for (original, diffusers) in [
            ("input_blocks.0.0", "conv_in"),
            (
                "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
                "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
            ),
            ("input_blocks.3.0.op", "down_blocks.0.downsamplers.0.conv"),
            ("input_blocks.4.0.skip_connection", "down_blocks.1.resnets.0.conv_shortcut"),
            ("input_blocks.8.0.in_layers.2", "down_blocks.2.resnets.1.conv1"),
            ("input_blocks.11.0.emb_layers.1", "down_blocks.3.resnets.1.time_emb_proj"),
            ("middle_block.2.out_layers.3", "mid_block.resnets.1.conv2"),
            ("output_blocks.2.0.in_layers.2", "up_blocks.0.resnets.2.conv1"),
            ("output_blocks.2.1.conv", "up_blocks.0.upsamplers.0.conv"),
            ("output_blocks.5.2.conv", "up_blocks.1.upsamplers.0.conv"),
            (
                "output_blocks.11.1.transformer_blocks.0.attn1.to_q",
                "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_q",
            ),
        ] {
            let index = names.iter().position(|name| *name == diffusers).unwrap();
            assert_eq!(layers.get(original), Some(&vec![Part { index, order: Order::Same }]), "{original}");
        }
        assert_eq!(layers.len(), names.len());
    }

    #[test]
    fn fused_projections_are_made_of_their_parts_in_order() {
        let names = [
            "single_transformer_blocks.7.attn.to_k",
            "single_transformer_blocks.7.attn.to_q",
            "single_transformer_blocks.7.attn.to_v",
            "single_transformer_blocks.7.proj_mlp",
            "transformer_blocks.0.attn.add_k_proj",
            "transformer_blocks.0.attn.add_q_proj",
            "transformer_blocks.0.attn.add_v_proj",
        ];
        let layers = Original::default().layers(&names);
        let indices = |name: &str| layers[name].iter().map(|part| part.index).collect::<Vec<_>>();
        assert_eq!(indices("single_blocks_7_linear1"), [1, 0, 2, 3]);
        assert_eq!(indices("single_blocks_7_qkv"), [1, 0, 2]);
        assert_eq!(indices("double_blocks_0_txt_attn_qkv"), [5, 4, 6]);
        assert_eq!(indices("double_blocks_0_qkv_lora2"), [5, 4, 6]);
        assert_eq!(indices("joint_blocks_0_context_block_attn_qkv"), [5, 4, 6]);
    }

    #[test]
    fn last_modulations_have_their_halves_swapped() {
        let names = [
            "transformer_blocks.0.attn.to_add_out",
            "transformer_blocks.0.norm1_context.linear",
            "transformer_blocks.1.norm1_context.linear",
            "norm_out.linear",
        ];
        let layers = Original::of(&names).layers(&names);
        for (name, index, order) in [
            ("joint_blocks_0_context_block_adaLN_modulation_1", 1, Order::Same),
            ("joint_blocks_1_context_block_adaLN_modulation_1", 2, Order::HalvesSwapped),
            ("final_layer_adaLN_modulation_1", 3, Order::HalvesSwapped),
        ] {
            assert_eq!(layers[name], [Part { index, order }], "{name}");
        }
    }
}
