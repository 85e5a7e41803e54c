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
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }

    /// The text, or `default` where no token is named.
    pub(crate) fn text_or(token: &Option<Self>, default: &str) -> String {
        token.as_ref().map_or(default, Self::text).to_owned()
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

/// Comparison with recorded ids of real vocabularies (`tests/reference/make_tokenizers.py`).
#[cfg(test)]
pub(crate) mod testing {
    use std::fmt::{Debug, Write as _};
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde::de::DeserializeOwned;
    use serde_json::{Map, Value};
    use tempfile::TempDir;

    /// What the reference made of the prompts with one vocabulary.
    pub(crate) struct Recorded(Value);

    impl Recorded {
        pub(crate) fn folder(name: &str) -> PathBuf {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
        }

        pub(crate) fn read(vocabulary: &str) -> Self {
            let bytes = fs::read(Self::folder(vocabulary).join("ids.json")).unwrap();
            Self(serde_json::from_slice(&bytes).unwrap())
        }

        pub(crate) fn get<T: DeserializeOwned>(&self, name: &str) -> T {
            serde_json::from_value(self.0[name].clone()).unwrap()
        }
    }

    /// A folder with copies of some files of a recorded one.
    pub(crate) fn copied(folder: &str, names: &[&str]) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for name in names {
            fs::copy(Recorded::folder(folder).join(name), copy.path().join(name)).unwrap();
        }
        copy
    }

    /// Puts back into a `tokenizer.json` what it was stored without.
    pub(crate) fn fill(file: &Path, vocabulary: Map<String, Value>, merges: Option<Vec<String>>) {
        let mut json: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        json["model"]["vocab"] = vocabulary.into();
        if let Some(merges) = merges {
            json["model"]["merges"] = merges.into();
        }
        fs::write(file, json.to_string()).unwrap();
    }

    /// Fails with everything that differs, so that one failure shows the whole extent.
    #[track_caller]
    pub(crate) fn assert_all_equal<T: PartialEq + Debug>(what: &str, cases: Vec<(String, T, T)>) {
        let mut report = String::new();
        for (case, found, expected) in cases.iter().filter(|(_, found, expected)| found != expected) {
            writeln!(report, "{case:.60?}\n  found    {found:?}\n  expected {expected:?}").unwrap();
        }
        assert!(report.is_empty(), "{what}:\n{report}");
    }
}
