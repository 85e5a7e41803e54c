//! What the names in a LoRA file mean.

use crate::error::Error;

/// A component that a LoRA changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Component {
    /// The U-Net or transformer.
    Denoiser,
    /// A text encoder, from 1.
    TextEncoder(u8),
}

impl Component {
    /// The component that a folder of diffusers calls `name`.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "unet" | "transformer" => Self::Denoiser,
            "text_encoder" => Self::TextEncoder(1),
            "text_encoder_2" => Self::TextEncoder(2),
            "text_encoder_3" => Self::TextEncoder(3),
            _ => return None,
        })
    }
}

/// A layer, by its name with `_` for every `.`: the one spelling that all files can be brought to, since kohya's
/// trainer does not tell the two apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) component: Component,
    pub(super) layer: String,
}

/// What a tensor of a LoRA is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `A`: `(rank, inputs, …)`.
    Down,
    /// `B`: `(outputs, rank, …)`.
    Up,
    /// One number.
    Alpha,
}

const DENOISER: Component = Component::Denoiser;

/// Beginnings of the names, and what they are of. Without any a layer is the denoiser's.
const PREFIXES: [(&str, Component); 15] = [
    // kohya.
    ("lora_unet_", DENOISER),
    ("lora_transformer_", DENOISER),
    ("lora_te_", Component::TextEncoder(1)),
    ("lora_te1_", Component::TextEncoder(1)),
    ("lora_te2_", Component::TextEncoder(2)),
    ("lora_te3_", Component::TextEncoder(3)),
    // diffusers.
    ("unet.", DENOISER),
    ("transformer.", DENOISER),
    ("text_encoder.", Component::TextEncoder(1)),
    ("text_encoder_2.", Component::TextEncoder(2)),
    ("text_encoder_3.", Component::TextEncoder(3)),
    // PEFT without diffusers, and ComfyUI.
    ("base_model.model.", DENOISER),
    ("diffusion_model.", DENOISER),
    ("text_encoders.clip_l.transformer.", Component::TextEncoder(1)),
    ("", DENOISER),
];

/// Ends of the names, and what they are.
const SUFFIXES: [(&str, Role); 15] = [
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    // The attention processors of early diffusers: `….processor.to_q_lora.down.weight`.
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    // Those of XLabs, in blocks with two: `….processor.qkv_lora1.down.weight`.
    (".down.weight", Role::Down),
    (".up.weight", Role::Up),
    (".alpha", Role::Alpha),
];

/// What shows that a file is not a plain LoRA, and what it is.
const OTHER_KINDS: [(&str, &str); 11] = [
    ("dora_scale", "DoRA"),
    ("lora_magnitude_vector", "DoRA"),
    ("lora_mid", "LoCon with a core tensor"),
    (".hada_", "LoHa"),
    (".lokr_", "LoKr"),
    (".oft_", "OFT"),
    ("ia3", "IA3"),
    (".diff", "full differences of weights"),
    ("norm.w_norm", "norms"),
    ("bundle_emb", "embeddings"),
    (".bias", "biases"),
];

/// What a file holds under `key`; `None` if that can be no part of a LoRA.
///
/// # Errors
/// [`Error::Unsupported`] naming `lora`, when it is of a kind that is not implemented.
pub(super) fn parse(lora: &str, key: &str) -> Result<Option<(Place, Role)>, Error> {
    if let Some((_, kind)) = OTHER_KINDS.iter().find(|(mark, _)| key.contains(mark)) {
        let message = format!("LoRA \"{lora}\" holds {key:?}: {kind} is not implemented");
        return Err(Error::Unsupported(message));
    }
    let ends = SUFFIXES.iter().find_map(|(suffix, role)| Some((key.strip_suffix(suffix)?, *role)));
    Ok(ends.map(|(name, role)| (Place::of_name(name), role)))
}

impl Place {
    /// The layer that a file names so, in any of the spellings.
    pub(super) fn of_name(name: &str) -> Self {
        let starts = PREFIXES.iter().find_map(|(prefix, of)| Some((*of, name.strip_prefix(prefix)?)));
        let (component, layer) = starts.unwrap_or((DENOISER, name));
        Self::new(component, layer)
    }

    /// A layer of a component by its own name there.
    pub(super) fn new(component: Component, name: &str) -> Self {
        let layer = name.replace(".processor.", ".").replace('.', "_");
        let layer = match component {
            Component::Denoiser if layer.ends_with("_to_out") => format!("{layer}_0"),
            Component::Denoiser => layer,
            Component::TextEncoder(_) => text_encoder_layer(&layer),
        };
        Self { component, layer }
    }
}

/// Without the prefix that some writers leave out, and with the model's own names of the projections, which early
/// diffusers called as those of its denoiser.
fn text_encoder_layer(layer: &str) -> String {
    let layer = layer.strip_prefix("text_model_").unwrap_or(layer);
    let old = [("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "out_proj")];
    for (old, new) in old {
        if let Some(attention) = layer.strip_suffix(old).filter(|rest| rest.ends_with("self_attn_")) {
            return format!("{attention}{new}");
        }
    }
    layer.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(key: &str, component: Component, layer: &str, role: Role) {
        let place = Place { component, layer: layer.to_owned() };
        assert_eq!(parse("x", key).unwrap(), Some((place, role)), "{key}");
    }

    #[test]
    fn every_spelling_of_a_denoiser_layer_is_understood() {
        let layer = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
        let dotted = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
        let processor = dotted.replace(".to_q", ".processor.to_q");
        for (key, role) in [
            (format!("unet.{dotted}.lora_A.weight"), Role::Down),
            (format!("unet.{dotted}.lora.up.weight"), Role::Up),
            (format!("base_model.model.{dotted}.lora_B.default.weight"), Role::Up),
            (format!("{processor}_lora.down.weight"), Role::Down),
            (format!("unet.{processor}_lora.up.weight"), Role::Up),
            (format!("lora_unet_{layer}.lora_down.weight"), Role::Down),
            (format!("lora_unet_{layer}.alpha"), Role::Alpha),
            (format!("diffusion_model.{dotted}.lora_down.weight"), Role::Down),
        ] {
            is(&key, Component::Denoiser, layer, role);
        }
        for (key, layer, role) in [
            ("double_blocks.3.processor.qkv_lora2.down.weight", "double_blocks_3_qkv_lora2", Role::Down),
            ("single_blocks.3.processor.proj_lora.up.weight", "single_blocks_3_proj", Role::Up),
        ] {
            is(key, Component::Denoiser, layer, role);
        }
        let out = "mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0";
        let processor = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor";
        is(&format!("{processor}.to_out_lora.down.weight"), Component::Denoiser, out, Role::Down);
        is(&format!("lora_unet_{out}.lora_up.weight"), Component::Denoiser, out, Role::Up);
        let joint = "transformer.transformer_blocks.1.attn.add_q_proj.lora_A.weight";
        is(joint, Component::Denoiser, "transformer_blocks_1_attn_add_q_proj", Role::Down);
    }

    #[test]
    fn every_spelling_of_a_text_encoder_layer_is_understood() {
        let layer = "encoder_layers_3_self_attn_q_proj";
        let dotted = "encoder.layers.3.self_attn";
        for (key, encoder) in [
            (format!("text_encoder.text_model.{dotted}.q_proj.lora_A.weight"), 1),
            (format!("text_encoder_2.{dotted}.q_proj.lora_linear_layer.down.weight"), 2),
            (format!("text_encoder.text_model.{dotted}.to_q_lora.down.weight"), 1),
            (format!("text_encoders.clip_l.transformer.text_model.{dotted}.q_proj.lora_down.weight"), 1),
            (format!("lora_te_text_model_{layer}.lora_down.weight"), 1),
            (format!("lora_te1_text_model_{layer}.lora_down.weight"), 1),
            (format!("lora_te2_text_model_{layer}.lora_down.weight"), 2),
            (format!("lora_te3_{layer}.lora_down.weight"), 3),
        ] {
            is(&key, Component::TextEncoder(encoder), layer, Role::Down);
        }
        is("lora_te2_text_projection.alpha", Component::TextEncoder(2), "text_projection", Role::Alpha);
    }

    #[test]
    fn other_kinds_are_refused_by_name() {
        for (key, kind) in [
            ("lora_unet_mid_block_attentions_0_proj_in.dora_scale", "DoRA"),
            ("unet.conv_in.lora_magnitude_vector", "DoRA"),
            ("lora_unet_conv_in.hada_w1_a", "LoHa"),
            ("lora_unet_conv_in.lokr_w1", "LoKr"),
            ("lora_unet_conv_in.lora_mid.weight", "LoCon with a core tensor"),
            ("unet.conv_in.lora_B.bias", "biases"),
        ] {
            let error = parse("x", key).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)));
            assert_eq!(error.to_string(), format!("LoRA \"x\" holds {key:?}: {kind} is not implemented"));
        }
        assert_eq!(parse("x", "unet.conv_in.weight").unwrap(), None);
    }
}
