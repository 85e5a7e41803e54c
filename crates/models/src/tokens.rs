//! What the tokenizers of all families share.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::{BoxError, Error};

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
