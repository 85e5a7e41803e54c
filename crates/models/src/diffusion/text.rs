//! What the denoiser is told of a prompt.

use candle_core::{D, Tensor};

use super::family::{Family, TextEncoder};
use crate::clip::{ClipConfig, ClipIds, ClipTextModel, ClipTokenizer};
use crate::error::Error;
use crate::folder::Folder;

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

/// The text encoders of a model, with their tokenizers.
pub(super) struct TextEncoders {
    pub(super) family: Family,
    pub(super) tokenizers: Vec<ClipTokenizer>,
    pub(super) clips: Vec<ClipTextModel>,
}

impl TextEncoders {
    /// The ids that each encoder sees of a prompt.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the prompt has more parts than there are encoders.
    pub(super) fn tokenize(&self, prompt: &str) -> Result<Vec<ClipIds>, Error> {
        let parts = parts(prompt);
        let count = self.tokenizers.len();
        if parts.len() > count {
            let encoders = if count == 1 { "one text encoder" } else { "fewer text encoders" };
            return Err(Error::InvalidInput(format!(
                "the prompt has {} parts separated by \"{SEPARATOR}\", and the model has {encoders}",
                parts.len()
            )));
        }
        // An encoder without a part of its own reads the first.
        let part = |index: usize| parts.get(index).or(parts.first()).copied().unwrap_or_default();
        self.tokenizers.iter().enumerate().map(|(index, tokenizer)| tokenizer.encode(part(index))).collect()
    }

    /// Encodes the ids of [`Self::tokenize`].
    pub(super) fn encode(&self, ids: &[ClipIds]) -> Result<Encoded, Error> {
        let clips = self.clips.iter().zip(ids);
        let all = clips.map(|(clip, ids)| Ok((clip, ids.end, clip.forward(&ids.ids)?)));
        let all = all.collect::<Result<Vec<_>, Error>>()?;
        match self.family {
            Family::StableDiffusion => {
                let (_, _, states) = &all[0];
                Ok(Encoded { states: states.last.clone(), pooled: None })
            }
            Family::StableDiffusionXl => {
                let states = all.iter().map(|(_, _, states)| &states.penultimate).collect::<Vec<_>>();
                let (clip, end, last) = &all[all.len() - 1];
                let pooled = Some(clip.pooled(last, *end)?);
                Ok(Encoded { states: Tensor::cat(&states, D::Minus1)?, pooled })
            }
        }
    }
}

/// The parts of a prompt for the text encoders: without the space around them, and none that is empty.
fn parts(prompt: &str) -> Vec<&str> {
    let parts = prompt.splitn(MAX_PARTS, SEPARATOR).map(str::trim);
    parts.filter(|part| !part.is_empty()).collect()
}

/// Reads the configurations of the CLIP encoders of `family`.
pub(super) fn configs(folder: &Folder, family: Family) -> Result<Vec<ClipConfig>, Error> {
    let config = |encoder: &TextEncoder| ClipConfig::load(&folder.component(encoder.model));
    family.text_encoders().iter().map(config).collect()
}

/// Reads the tokenizers of those encoders.
pub(super) fn tokenizers(
    folder: &Folder,
    family: Family,
    configs: &[ClipConfig],
) -> Result<Vec<ClipTokenizer>, Error> {
    let tokenizer = |(encoder, config): (&TextEncoder, &ClipConfig)| {
        let component = folder.component(encoder.tokenizer);
        let tokenizer = ClipTokenizer::load(&component, config.max_position_embeddings)?;
        let (largest, vocab_size) = (tokenizer.largest_id(), config.vocab_size);
        // A tokenizer of another model would make ids that the text encoder has no vectors for.
        if largest as usize >= vocab_size {
            let reason = format!("vocab_size is {vocab_size}, and the tokenizer has the id {largest}");
            return Err(folder.component(encoder.model).invalid("config.json", reason));
        }
        Ok(tokenizer)
    };
    family.text_encoders().iter().zip(configs).map(tokenizer).collect()
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
