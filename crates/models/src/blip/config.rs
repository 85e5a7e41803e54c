//! `config.json` and `generation_config.json`.

use serde::Deserialize;

use crate::error::Error;
use crate::folder::Folder;
use crate::layers::Activation;

pub(super) const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// The most tokens after the prefix where no file says otherwise: the default of transformers.
const DEFAULT_NEW_TOKENS: usize = 20;

pub(super) struct BlipConfig {
    pub(super) vision: VisionConfig,
    pub(super) text: TextConfig,
    pub(super) generation: Generation,
}

#[derive(Deserialize)]
struct RawConfig {
    vision_config: VisionConfig,
    text_config: TextConfig,
}

/// The Vision Transformer. Fields left out have the defaults of transformers, which published files rely on.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct VisionConfig {
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) image_size: usize,
    pub(super) patch_size: usize,
    pub(super) hidden_act: Activation,
    pub(super) layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 384,
            patch_size: 16,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
        }
    }
}

/// The text decoder.
///
/// Of its special tokens these count, and not those of `generation_config.json`, which name another end in
/// published files. What files of transformers 4 say here of lengths, beams and repetition is left out, as
/// transformers 5 does.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct TextConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) encoder_hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) hidden_act: Activation,
    pub(super) layer_norm_eps: f64,
    bos_token_id: u32,
    pad_token_id: u32,
    sep_token_id: u32,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_524,
            hidden_size: 768,
            encoder_hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            bos_token_id: 30_522,
            pad_token_id: 0,
            sep_token_id: 102,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct RawGeneration {
    max_new_tokens: Option<usize>,
    max_length: Option<usize>,
    do_sample: Option<bool>,
    num_beams: Option<usize>,
}

/// How a caption begins and ends.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub(super) bos: u32,
    pub(super) pad: u32,
    /// What the reference calls a separator.
    pub(super) end: u32,
    limit: Limit,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    /// Tokens after the prefix.
    New(usize),
    /// Tokens in all.
    Length(usize),
}

impl BlipConfig {
    pub(super) fn load(folder: &Folder) -> Result<Self, Error> {
        let RawConfig { vision_config: vision, text_config: mut text } = folder.json(CONFIG)?;
        // Whatever stands there.
        text.encoder_hidden_size = vision.hidden_size;
        let raw: RawGeneration = folder.json_if_present(GENERATION_CONFIG)?.unwrap_or_default();
        if raw.do_sample == Some(true) || raw.num_beams.is_some_and(|beams| beams > 1) {
            let message =
                "the model's generation settings ask for sampling or beams, which are not implemented";
            return Err(Error::Unsupported(message.to_owned()));
        }
        let heads = |size: usize, heads: usize| heads > 0 && size.is_multiple_of(heads);
        if !heads(vision.hidden_size, vision.num_attention_heads)
            || !heads(text.hidden_size, text.num_attention_heads)
        {
            return Err(folder.invalid(CONFIG, "hidden_size is not a multiple of num_attention_heads"));
        }
        if vision.patch_size == 0 || !vision.image_size.is_multiple_of(vision.patch_size) {
            return Err(folder.invalid(CONFIG, "image_size is not a multiple of patch_size"));
        }
        let limit = match (raw.max_new_tokens, raw.max_length) {
            (Some(tokens), _) => Limit::New(tokens),
            (None, Some(length)) => Limit::Length(length),
            (None, None) => Limit::New(DEFAULT_NEW_TOKENS),
        };
        let (bos, pad, end) = (text.bos_token_id, text.pad_token_id, text.sep_token_id);
        if bos as usize >= text.vocab_size {
            return Err(folder.invalid(CONFIG, format!("bos_token_id {bos} is not below vocab_size")));
        }
        Ok(Self { vision, text, generation: Generation { bos, pad, end, limit } })
    }

    /// The most tokens a caption with a prefix of `prefix` tokens may have in all.
    pub(super) fn longest(&self, prefix: usize) -> usize {
        let longest = match self.generation.limit {
            Limit::New(tokens) => prefix.saturating_add(tokens),
            Limit::Length(length) => length,
        };
        longest.min(self.text.max_position_embeddings)
    }
}
