//! Which tokens of CLIP's tokenizer are special, from the files that say so.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokenizers::AddedToken;

use crate::error::Error;
use crate::folder::Folder;

pub(super) const CONFIG: &str = "tokenizer_config.json";
const MAP: &str = "special_tokens_map.json";

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// The special tokens of a tokenizer.
pub(super) struct SpecialTokens {
    pub(super) bos: String,
    pub(super) eos: String,
    pub(super) unk: String,
    pub(super) pad: String,
    /// All of them, each once, and how they are found in a text.
    pub(super) added: Vec<AddedToken>,
    /// Most tokens that the tokenizer gives; 1e30 where nobody set a number.
    pub(super) model_max_length: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    #[serde(flatten)]
    named: Named,
    model_max_length: Option<f64>,
    /// By their ids.
    added_tokens_decoder: Option<BTreeMap<u32, Token>>,
}

/// The tokens that have a purpose.
#[derive(Debug, Default, Deserialize)]
struct Named {
    bos_token: Option<Written>,
    eos_token: Option<Written>,
    unk_token: Option<Written>,
    pad_token: Option<Written>,
}

/// A special token is written as its text or as an object with the text in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Object(Token),
}

#[derive(Debug, Clone, Deserialize)]
struct Token {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
    /// Whether it is looked for after normalisation, which for CLIP means in any case.
    #[serde(default)]
    normalized: bool,
}

impl Written {
    fn content(&self) -> &str {
        match self {
            Self::Text(content) | Self::Object(Token { content, .. }) => content,
        }
    }
}

impl From<Token> for AddedToken {
    fn from(token: Token) -> Self {
        Self::from(token.content, true)
            .lstrip(token.lstrip)
            .rstrip(token.rstrip)
            .single_word(token.single_word)
            .normalized(token.normalized)
    }
}

impl SpecialTokens {
    /// Reads `tokenizer_config.json` and, as transformers does, `special_tokens_map.json`, which older files
    /// need: what it says goes before the former, unless that one lists all added tokens.
    pub(super) fn load(folder: &Folder) -> Result<Self, Error> {
        let config: TokenizerConfig = folder.json_if_present(CONFIG)?.unwrap_or_default();
        let map: Named = match config.added_tokens_decoder {
            Some(_) => Named::default(),
            None => folder.json_if_present(MAP)?.unwrap_or_default(),
        };
        let named = |first: Option<Written>, second: Option<Written>, default: &str| {
            first.or(second).unwrap_or_else(|| Written::Text(default.to_owned()))
        };
        let bos = named(map.bos_token, config.named.bos_token, START);
        let eos = named(map.eos_token, config.named.eos_token, END);
        let unk = named(map.unk_token, config.named.unk_token, END);
        let pad = named(map.pad_token, config.named.pad_token, END);
        let listed = config.added_tokens_decoder.unwrap_or_default();
        let mut added = BTreeMap::new();
        // Where a token is written twice, the later purpose says how it is found.
        for token in [&bos, &eos, &unk, &pad] {
            let plain = |content: &String| AddedToken::from(content.clone(), true).normalized(false);
            let token = match token {
                Written::Text(content) => plain(content),
                Written::Object(token) => token.clone().into(),
            };
            added.insert(token.content.clone(), token);
        }
        for token in listed.into_values() {
            added.insert(token.content.clone(), token.into());
        }
        Ok(Self {
            bos: bos.content().to_owned(),
            eos: eos.content().to_owned(),
            unk: unk.content().to_owned(),
            pad: pad.content().to_owned(),
            added: added.into_values().collect(),
            model_max_length: config.model_max_length,
        })
    }
}
