//! What the tokenizers of all families share.

use std::path::Path;

use serde::Deserialize;
use tokenizers::{Encoding, Tokenizer};

use crate::error::{BoxError, Error};

/// The end of a text that a text encoder has no room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// The text.
    pub(crate) text: String,
    /// How many tokens it has.
    pub(crate) tokens: usize,
}

impl Dropped {
    /// What is left of `text` after its first `kept` tokens, if there is anything.
    pub(crate) fn after(kept: usize, text: &str, encoding: &Encoding) -> Option<Self> {
        let tokens = encoding.len().checked_sub(kept).filter(|tokens| *tokens > 0)?;
        let start = encoding.get_offsets().get(kept).map_or(text.len(), |(start, _)| *start);
        let text = text.get(start..).unwrap_or_default().trim().to_owned();
        Some(Self { text, tokens })
    }
}

/// A special token in `tokenizer_config.json`: its text or an object with the text in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum SpecialToken {
    Text(String),
    Object { content: String },
}

impl SpecialToken {
    /// The text, or `default` where no token is named.
    pub(crate) fn text_or(token: &Option<Self>, default: &str) -> String {
        match token {
            Some(Self::Text(text) | Self::Object { content: text }) => text.clone(),
            None => default.to_owned(),
        }
    }
}

/// Reads a `tokenizer.json`. Truncation and padding in it are left out: they are the families' business.
pub(crate) fn from_json(file: &Path) -> Result<Tokenizer, Error> {
    let read = || -> Result<Tokenizer, BoxError> {
        let mut tokenizer = Tokenizer::from_file(file)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None)?;
        Ok(tokenizer)
    };
    read().map_err(|error| unreadable(file, "a tokenizer", error))
}

/// The error for a vocabulary that cannot be used.
pub(crate) fn unreadable(file: &Path, expected: &str, error: BoxError) -> Error {
    Error::Load {
        file: file.to_owned(),
        tensor: None,
        expected: expected.to_owned(),
        found: error.to_string(),
        source: Some(error),
    }
}
