//! T5's tokenizer: text to a fixed number of ids.

use serde::Deserialize;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, Tokenizer};

use super::sentencepiece::SentencePiece;
use crate::error::{BoxError, Error};
use crate::folder::Folder;
use crate::tokens::{self, Dropped, SpecialToken};

const CONFIG: &str = "tokenizer_config.json";
const TOKENIZER: &str = "tokenizer.json";
const SENTENCEPIECE: &str = "spiece.model";

/// What SentencePiece writes for a space.
const SPACE: char = '▁';

/// Turns a prompt into a fixed number of ids.
pub(crate) struct T5Tokenizer {
    tokenizer: Tokenizer,
    eos: u32,
    pad: u32,
    length: usize,
}

/// A text as the encoder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct T5Ids {
    /// Always the same number.
    pub(crate) ids: Vec<u32>,
    /// What there was no room for.
    pub(crate) dropped: Option<Dropped>,
}

#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    eos_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    /// How many `<extra_id_…>` follow the vocabulary of a `spiece.model`.
    extra_ids: Option<u32>,
}

impl T5Tokenizer {
    /// Reads `tokenizer.json` or `spiece.model` of the component's folder. Texts will have `length` ids, at
    /// least 1.
    pub(crate) fn load(folder: &Folder, length: usize) -> Result<Self, Error> {
        let config: TokenizerConfig = folder.json_if_present(CONFIG)?.unwrap_or_default();
        let eos = SpecialToken::text_or(&config.eos_token, "</s>");
        let pad = SpecialToken::text_or(&config.pad_token, "<pad>");
        let unk = SpecialToken::text_or(&config.unk_token, "<unk>");
        let tokenizer = if folder.has(TOKENIZER) {
            tokens::from_json(&folder.file(TOKENIZER))?
        } else if folder.has(SENTENCEPIECE) {
            from_sentencepiece(folder, [&eos, &pad, &unk], config.extra_ids.unwrap_or(100))?
        } else {
            return Err(folder.missing(TOKENIZER));
        };
        let id = |token: &str| {
            let reason = format!("special token {token:?} is not in the vocabulary");
            tokenizer.token_to_id(token).ok_or_else(|| folder.invalid(CONFIG, reason))
        };
        let (eos, pad) = (id(&eos)?, id(&pad)?);
        Ok(Self { tokenizer, eos, pad, length })
    }

    /// The largest id it can make.
    pub(crate) fn largest_id(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// The prompt cut to what fits, end, padding: always the same number of ids.
    pub(crate) fn encode(&self, prompt: &str) -> Result<T5Ids, Error> {
        let encoding = self.tokenizer.encode(prompt, false).map_err(Error::Device)?;
        let words = encoding.get_ids();
        let kept = words.len().min(self.length - 1);
        let mut ids = words[..kept].to_vec();
        ids.push(self.eos);
        ids.resize(self.length, self.pad);
        Ok(T5Ids { ids, dropped: Dropped::after(kept, prompt, &encoding) })
    }
}

/// The tokenizer that transformers makes of a SentencePiece model.
fn from_sentencepiece(folder: &Folder, specials: [&str; 3], extra: u32) -> Result<Tokenizer, Error> {
    let file = folder.file(SENTENCEPIECE);
    let build = || -> Result<Tokenizer, BoxError> {
        let model = SentencePiece::parse(&std::fs::read(&file)?)?;
        let extra = (0..extra).rev().map(|number| format!("<extra_id_{number}>")).collect::<Vec<_>>();
        let mut vocabulary = model.pieces;
        vocabulary.extend(extra.iter().map(|token| (token.clone(), 0.0)));
        let mut tokenizer = Tokenizer::new(Unigram::from(vocabulary, Some(model.unk_id), false)?);
        if !model.precompiled_charsmap.is_empty() {
            tokenizer.with_normalizer(Some(Precompiled::from(&model.precompiled_charsmap)?))?;
        }
        let words = Metaspace::new(SPACE, PrependScheme::Always, true);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), words.into()])));
        let tokens = specials.into_iter().chain(extra.iter().map(String::as_str));
        let tokens = tokens.map(|token| AddedToken::from(token, true).normalized(false)).collect::<Vec<_>>();
        tokenizer.add_special_tokens(tokens)?;
        Ok(tokenizer)
    };
    build().map_err(|error| tokens::unreadable(&file, "a SentencePiece model of kind unigram", error))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde::Deserialize;

    use super::*;
    use crate::folder::ModelFolder;

    /// A text and what the reference makes of it.
    #[derive(Deserialize)]
    struct Recorded {
        text: String,
        ids: Vec<u32>,
    }

    fn reference(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
    }

    fn load(folder: impl Into<ModelFolder>, length: usize) -> Result<T5Tokenizer, Error> {
        T5Tokenizer::load(&Folder::new(&folder.into()), length)
    }

    /// See `tests/reference/make_t5_vocabulary.py`.
    #[test]
    fn the_real_vocabulary_gives_the_ids_of_the_reference() {
        let tokenizer = load(reference("t5_vocabulary"), 60).unwrap();
        let recorded = std::fs::read(reference("t5_vocabulary/texts.json")).unwrap();
        let recorded: Vec<Recorded> = serde_json::from_slice(&recorded).unwrap();
        assert_eq!(recorded.len(), 15);
        for Recorded { text, mut ids } in recorded {
            ids.resize(60, 0);
            let found = tokenizer.encode(&text).unwrap();
            assert_eq!(found, T5Ids { ids, dropped: None }, "{text:?}");
        }
        assert_eq!(tokenizer.largest_id(), 32_099);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_before_the_end_token() {
        let tokenizer = load(reference("t5_vocabulary"), 5).unwrap();
        let found = tokenizer.encode("a large red circle").unwrap();
        let dropped = Some(Dropped { text: "circle".to_owned(), tokens: 1 });
        assert_eq!(found, T5Ids { ids: vec![3, 9, 508, 1131, 1], dropped });
    }

    #[test]
    fn a_folder_without_a_vocabulary_or_with_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let message = || load(folder.path(), 5).err().unwrap().to_string();
        assert!(message().ends_with("tokenizer.json: expected a file, found none"), "{}", message());
        let whole = std::fs::read(reference("t5_vocabulary/spiece.model")).unwrap();
        std::fs::write(folder.path().join(SENTENCEPIECE), &whole[..1001]).unwrap();
        let expected = "spiece.model: expected a SentencePiece model of kind unigram, found a protocol buffer \
                        that ends early or has an unknown wire type";
        assert!(message().ends_with(expected), "{}", message());
    }
}
