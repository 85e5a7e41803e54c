//! What the denoiser is told of a prompt.

use candle_core::{D, DType, Device, Tensor};

use super::family::{Family, TextEncoder};
use crate::clip::{ClipConfig, ClipIds, ClipTextModel, ClipTokenizer};
use crate::error::Error;
use crate::folder::Folder;
use crate::model::Warning;
use crate::t5::{T5Config, T5Encoder, T5Ids, T5Tokenizer};
use crate::tokens::Dropped;

/// What separates the parts of a prompt that are for different text encoders.
const SEPARATOR: char = '|';

/// Most parts; what would be a fifth stays in the fourth.
const MAX_PARTS: usize = 4;

/// A prompt as the denoiser sees it, in the compute dtype.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    /// Hidden states `(1, tokens, width)`.
    pub(super) states: Tensor,
    /// One vector for the whole text, `(1, width)`, of families whose denoiser is shown one.
    pub(super) pooled: Option<Tensor>,
}

impl Encoded {
    /// What SDXL's pipeline means by no prompt at all.
    pub(super) fn zeros_like(&self) -> Result<Self, Error> {
        let pooled = self.pooled.as_ref().map(Tensor::zeros_like).transpose()?;
        Ok(Self { states: self.states.zeros_like()?, pooled })
    }
}

/// Configurations of the text encoders.
pub(super) struct TextConfigs {
    pub(super) clips: Vec<ClipConfig>,
    pub(super) t5: Option<T5Config>,
}

/// The tokenizers of the text encoders.
pub(super) struct Tokenizers {
    clips: Vec<ClipTokenizer>,
    t5: Option<T5Tokenizer>,
}

/// A prompt as the text encoders see it.
pub(super) struct PromptIds {
    pub(super) clips: Vec<ClipIds>,
    pub(super) t5: Option<T5Ids>,
}

/// The weights of the text encoders.
pub(super) struct TextModels {
    pub(super) clips: Vec<ClipTextModel>,
    pub(super) t5: Option<T5Encoder>,
}

/// The text encoders of a model, with their tokenizers.
pub(super) struct TextEncoders {
    pub(super) family: Family,
    pub(super) tokenizers: Tokenizers,
    pub(super) models: TextModels,
    /// Width of the hidden states that the denoiser is shown.
    pub(super) width: usize,
    pub(super) dtype: DType,
    pub(super) device: Device,
}

impl TextEncoders {
    /// Encodes the ids of [`Tokenizers::encode`].
    pub(super) fn encode(&self, ids: &PromptIds) -> Result<Encoded, Error> {
        let clips = self.models.clips.iter().zip(&ids.clips);
        let all = clips.map(|(clip, ids)| Ok((clip, ids.end, clip.forward(&ids.ids)?)));
        let all = all.collect::<Result<Vec<_>, Error>>()?;
        let penultimate = || {
            let states = all.iter().map(|(_, _, states)| &states.penultimate).collect::<Vec<_>>();
            Tensor::cat(&states, D::Minus1)
        };
        let mut pooled = all.iter().map(|(clip, end, states)| clip.pooled(states, *end));
        match self.family {
            Family::StableDiffusion => {
                let (_, _, states) = &all[0];
                Ok(Encoded { states: states.last.clone(), pooled: None })
            }
            Family::StableDiffusionXl => {
                Ok(Encoded { states: penultimate()?, pooled: pooled.next_back().transpose()? })
            }
            Family::StableDiffusion3 => {
                let states = penultimate()?;
                let missing = self.width.saturating_sub(states.dim(D::Minus1)?);
                let states = states.pad_with_zeros(D::Minus1, 0, missing)?;
                let pooled = Tensor::cat(&pooled.collect::<Result<Vec<_>, _>>()?, D::Minus1)?;
                let states = Tensor::cat(&[states, self.t5_states(ids)?], 1)?;
                Ok(Encoded { states, pooled: Some(pooled) })
            }
            Family::Flux => {
                let (_, end, states) = &all[0];
                Ok(Encoded { states: self.t5_states(ids)?, pooled: Some(states.at_end(*end)?) })
            }
        }
    }

    /// `(1, tokens, width)`: zeros where the folder has no T5.
    fn t5_states(&self, ids: &PromptIds) -> Result<Tensor, Error> {
        match (&self.models.t5, &ids.t5) {
            (Some(t5), Some(ids)) => Ok(t5.forward(&ids.ids)?),
            _ => {
                let tokens = self.family.t5().map_or(0, |t5| t5.tokens);
                Ok(Tensor::zeros((1, tokens, self.width), self.dtype, &self.device)?)
            }
        }
    }
}

impl Tokenizers {
    /// Reads the tokenizers of the encoders that `configs` describes.
    pub(super) fn load(folder: &Folder, family: Family, configs: &TextConfigs) -> Result<Self, Error> {
        let clip = |(encoder, config): (&TextEncoder, &ClipConfig)| {
            let component = folder.component(encoder.tokenizer);
            let tokenizer = ClipTokenizer::load(&component, config.max_position_embeddings)?;
            check_vocabulary(folder, encoder, tokenizer.largest_id(), config.vocab_size)?;
            Ok(tokenizer)
        };
        let clips = family.clips().iter().zip(&configs.clips).map(clip).collect::<Result<_, Error>>()?;
        let t5 = match (family.t5(), &configs.t5) {
            (Some(t5), Some(config)) => {
                let tokenizer = T5Tokenizer::load(&folder.component(t5.encoder.tokenizer), t5.tokens)?;
                check_vocabulary(folder, &t5.encoder, tokenizer.largest_id(), config.vocab_size)?;
                Some(tokenizer)
            }
            _ => None,
        };
        Ok(Self { clips, t5 })
    }

    /// The ids that each encoder sees of a prompt.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the prompt has more parts than there are encoders.
    pub(super) fn encode(&self, prompt: &str) -> Result<PromptIds, Error> {
        let parts = parts(prompt);
        let count = self.clips.len() + usize::from(self.t5.is_some());
        if parts.len() > count {
            let encoders = if count == 1 { "one text encoder" } else { "fewer text encoders" };
            return Err(Error::InvalidInput(format!(
                "the prompt has {} parts separated by \"{SEPARATOR}\", and the model has {encoders}",
                parts.len()
            )));
        }
        // An encoder without a part of its own reads the first.
        let part = |index: usize| parts.get(index).or(parts.first()).copied().unwrap_or_default();
        let clips = self.clips.iter().enumerate();
        let clips =
            clips.map(|(index, tokenizer)| tokenizer.encode(part(index))).collect::<Result<_, _>>()?;
        let t5 = self.t5.as_ref().map(|tokenizer| tokenizer.encode(part(self.clips.len()))).transpose()?;
        Ok(PromptIds { clips, t5 })
    }
}

impl TextEncoders {
    /// What the encoders leave unread of a prompt.
    ///
    /// # Errors
    /// As [`Tokenizers::encode`].
    pub(super) fn dropped(&self, prompt: &str) -> Result<Vec<Warning>, Error> {
        let PromptIds { clips, t5 } = self.tokenizers.encode(prompt)?;
        let clips = self.family.clips().iter().zip(clips);
        let clips = clips.map(|(encoder, ids)| (encoder.model, ids.ids.len(), ids.dropped));
        let t5 = self.family.t5().zip(t5);
        let t5 = t5.map(|(t5, ids)| (t5.encoder.model, ids.ids.len(), ids.dropped));
        let warning = |(encoder, limit, dropped): (_, usize, Option<Dropped>)| {
            Some(Warning::PromptTruncated { encoder, dropped: dropped?.text, limit: limit as u32 })
        };
        Ok(clips.chain(t5).filter_map(warning).collect())
    }
}

impl PromptIds {
    /// By encoder.
    pub(super) fn into_ids(self) -> Vec<Vec<u32>> {
        let clips = self.clips.into_iter().map(|ids| ids.ids);
        clips.chain(self.t5.map(|ids| ids.ids)).collect()
    }
}

/// The parts of a prompt for the text encoders: without the space around them, and none that is empty.
fn parts(prompt: &str) -> Vec<&str> {
    let parts = prompt.splitn(MAX_PARTS, SEPARATOR).map(str::trim);
    parts.filter(|part| !part.is_empty()).collect()
}

impl TextConfigs {
    /// Reads the configurations of the text encoders of `family`; `has` tells whether there is a component.
    pub(super) fn load(folder: &Folder, family: Family, has: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let clip = |encoder: &TextEncoder| {
            let config = ClipConfig::load(&folder.component(encoder.model))?;
            Ok(if encoder.projects() { config.with_projection() } else { config })
        };
        let t5 = family.t5().filter(|t5| has(t5.encoder.model));
        Ok(Self {
            clips: family.clips().iter().map(clip).collect::<Result<_, Error>>()?,
            t5: t5.map(|t5| T5Config::load(&folder.component(t5.encoder.model))).transpose()?,
        })
    }
}

/// A tokenizer of another model would make ids that the text encoder has no vectors for.
fn check_vocabulary(
    folder: &Folder,
    encoder: &TextEncoder,
    largest: u32,
    vocab_size: usize,
) -> Result<(), Error> {
    if (largest as usize) < vocab_size {
        return Ok(());
    }
    let reason = format!("vocab_size is {vocab_size}, and the tokenizer has the id {largest}");
    Err(folder.component(encoder.model).invalid("config.json", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_trimmed_and_the_fourth_keeps_the_rest() {
        assert_eq!(parts("a cat"), ["a cat"]);
        assert_eq!(parts(" a cat | a dog "), ["a cat", "a dog"]);
        assert_eq!(parts("a||b| "), ["a", "b"]);
        assert_eq!(parts("a|b|c|d|e"), ["a", "b", "c", "d|e"]);
        assert_eq!(parts(" | "), Vec::<&str>::new());
    }
}
