//! CLIP's tokenizer: text to a fixed number of ids.

use serde::Deserialize;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers, replace::ReplacePattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::error::{BoxError, Error};
use crate::folder::Folder;
use crate::tokens::{self, Dropped, SpecialToken};

const CONFIG: &str = "tokenizer_config.json";

/// How CLIP cuts text into words: its two special tokens, English suffixes, letters, single digits, the rest.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Turns a prompt into as many ids as the text encoder has positions.
pub(crate) struct ClipTokenizer {
    tokenizer: Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    length: usize,
}

/// A text as a text encoder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClipIds {
    /// As many as the text encoder has positions.
    pub(crate) ids: Vec<u32>,
    /// Where the first end token is.
    pub(crate) end: usize,
    /// What there was no room for.
    pub(crate) dropped: Option<Dropped>,
}

#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    model_max_length: Option<f64>,
}

impl ClipTokenizer {
    /// Reads `tokenizer.json`, or `vocab.json` and `merges.txt`, of the component's folder.
    pub(crate) fn load(folder: &Folder, positions: usize) -> Result<Self, Error> {
        let config: TokenizerConfig = folder.json_if_present(CONFIG)?.unwrap_or_default();
        let bos = SpecialToken::text_or(&config.bos_token, "<|startoftext|>");
        let eos = SpecialToken::text_or(&config.eos_token, "<|endoftext|>");
        let unk = SpecialToken::text_or(&config.unk_token, "<|endoftext|>");
        let pad = SpecialToken::text_or(&config.pad_token, "<|endoftext|>");
        let tokenizer = if folder.has("tokenizer.json") {
            tokens::from_json(&folder.file("tokenizer.json"))?
        } else {
            from_vocabulary(folder, [&bos, &eos], &unk)?
        };
        let id = |token: &str| {
            let reason = format!("special token {token:?} is not in the vocabulary");
            tokenizer.token_to_id(token).ok_or_else(|| folder.invalid(CONFIG, reason))
        };
        let (bos, eos, pad) = (id(&bos)?, id(&eos)?, id(&pad)?);
        // `model_max_length` is 1e30 where nobody set one.
        let length = config.model_max_length.map_or(positions, |length| positions.min(length as usize));
        if length < 2 {
            return Err(
                folder.invalid(CONFIG, format!("model_max_length is {length}, and must be at least 2"))
            );
        }
        Ok(Self { tokenizer, bos, eos, pad, length })
    }

    /// The largest id it can make.
    pub(crate) fn largest_id(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// Start, the prompt cut to what fits, end, padding: always the same number of ids.
    pub(crate) fn encode(&self, prompt: &str) -> Result<ClipIds, Error> {
        let encoding = self.tokenizer.encode(prompt, false).map_err(Error::Device)?;
        let words = encoding.get_ids();
        let kept = words.len().min(self.length - 2);
        let mut ids = Vec::with_capacity(self.length);
        ids.push(self.bos);
        ids.extend_from_slice(&words[..kept]);
        ids.push(self.eos);
        let end = ids.iter().position(|id| *id == self.eos).unwrap_or(kept + 1);
        ids.resize(self.length, self.pad);
        Ok(ClipIds { ids, end, dropped: Dropped::after(kept, prompt, &encoding) })
    }
}

/// The tokenizer that transformers makes of a slow CLIP tokenizer's files.
fn from_vocabulary(folder: &Folder, specials: [&str; 2], unk: &str) -> Result<Tokenizer, Error> {
    for name in ["vocab.json", "merges.txt"] {
        if !folder.has(name) {
            return Err(folder.missing(name));
        }
    }
    let (vocab, merges) = (folder.file("vocab.json"), folder.file("merges.txt"));
    let build = || -> Result<Tokenizer, BoxError> {
        let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
            .unk_token(unk.to_owned())
            .end_of_word_suffix("</w>".to_owned())
            .build()?;
        let mut tokenizer = Tokenizer::new(bpe);
        let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?;
        tokenizer.with_normalizer(Some(Normalizers::new(vec![
            NFC.into(),
            spaces.into(),
            Lowercase.into(),
        ])))?;
        let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Removed, true)?;
        let bytes = ByteLevel::new(false, true, true);
        tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));
        tokenizer
            .add_special_tokens(specials.map(|token| AddedToken::from(token, true).normalized(false)))?;
        Ok(tokenizer)
    };
    build().map_err(|error| tokens::unreadable(&vocab, "a byte-pair vocabulary with its merges", error))
}
