//! Reading the files of a model folder other than weights.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::Error;

/// A folder in Hugging Face layout, or a component's folder inside one.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The component's folder `name`.
    pub(crate) fn component(&self, name: &str) -> Self {
        Self { path: self.path.join(name) }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.file(name).is_file()
    }

    /// The contents of a configuration file.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        self.json_if_present(name)?.ok_or_else(|| self.missing(name))
    }

    /// The contents of a configuration file that a folder may do without.
    pub(crate) fn json_if_present<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let file = self.file(name);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::Load {
                    file,
                    tensor: None,
                    expected: "a readable file".to_owned(),
                    found: error.to_string(),
                    source: Some(Box::new(error)),
                });
            }
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::InvalidConfig {
            file,
            reason: error.to_string(),
            source: Some(Box::new(error)),
        })
    }

    /// The error for a file that should be in this folder.
    pub(crate) fn missing(&self, name: &str) -> Error {
        Error::Load {
            file: self.file(name),
            tensor: None,
            expected: "a file".to_owned(),
            found: "none".to_owned(),
            source: None,
        }
    }

    /// The error for a configuration file that parses and yet cannot be used.
    pub(crate) fn invalid(&self, name: &str, reason: impl Into<String>) -> Error {
        Error::InvalidConfig { file: self.file(name), reason: reason.into(), source: None }
    }

    /// The weights `{stem}.safetensors`, or their half precision variant `{stem}.fp16.safetensors`.
    pub(crate) fn weights(&self, stem: &str) -> Result<PathBuf, Error> {
        let names = [format!("{stem}.safetensors"), format!("{stem}.fp16.safetensors")];
        if let Some(name) = names.iter().find(|name| self.has(name)) {
            return Ok(self.file(name));
        }
        let others = ["bin", "ckpt", "pt", "msgpack", "h5"];
        let pickled = others.iter().map(|ext| format!("{stem}.{ext}")).find(|name| self.has(name));
        Err(Error::Load {
            file: self.path.clone(),
            tensor: None,
            expected: names.join(" or "),
            found: pickled.unwrap_or_else(|| "neither".to_owned()),
            source: None,
        })
    }
}

/// An integer or one integer per block, as diffusers writes many fields.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(untagged)]
pub(crate) enum PerBlock {
    /// The same for all.
    All(usize),
    /// From the first down block on.
    Each(Vec<usize>),
}

impl PerBlock {
    /// The value of each of `blocks` blocks; `None` unless there is exactly one for each.
    pub(crate) fn spread(&self, blocks: usize) -> Option<Vec<usize>> {
        match self {
            Self::All(value) => Some(vec![*value; blocks]),
            Self::Each(values) => (values.len() == blocks).then(|| values.clone()),
        }
    }
}
