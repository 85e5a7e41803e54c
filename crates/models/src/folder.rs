//! Reading the files of a model folder other than weights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use candle_core::DType;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Error;

/// What a folder of diffusers begins with.
pub(crate) const MODEL_INDEX: &str = "model_index.json";

/// Most bytes of a configuration. The largest ones, of which shard holds which tensor, take about 1 MiB.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// Where a model is: a folder in Hugging Face layout, and what stands in for components of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFolder {
    /// The folder.
    pub path: PathBuf,
    /// By the component's name (`vae`, `unet`, …) a safetensors file of weights for the component's own
    /// configuration, a folder with both, or a folder (of a model, say) with such a folder in it.
    ///
    /// A `safety_checker` makes one of a model that comes without; its image processor is the
    /// `preprocessor_config.json` in the same folder, or in a folder `feature_extractor` beside it.
    pub components: BTreeMap<String, PathBuf>,
    /// Fields that take the place of those in `scheduler_config.json`: few-step weights for the U-Net of a model
    /// need another spacing of the timesteps than the model's own.
    pub scheduler: Map<String, Value>,
}

impl<P: Into<PathBuf>> From<P> for ModelFolder {
    fn from(path: P) -> Self {
        Self { path: path.into(), components: BTreeMap::new(), scheduler: Map::new() }
    }
}

/// A folder in Hugging Face layout, or a component's folder inside one.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    /// What stands in for components.
    overrides: BTreeMap<String, PathBuf>,
    /// Weights to read in place of the folder's own.
    weights: Option<PathBuf>,
}

/// `….safetensors.index.json`: which shard holds which tensor.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Folder {
    pub(crate) fn new(model: &ModelFolder) -> Self {
        Self { path: model.path.clone(), overrides: model.components.clone(), weights: None }
    }

    /// The component's folder `name`, or what stands in for it.
    pub(crate) fn component(&self, name: &str) -> Self {
        let own = self.path.join(name);
        let (path, weights) = match self.overrides.get(name) {
            None => (own, None),
            Some(file) if file.is_file() => (own, Some(file.clone())),
            Some(model) if model.join(MODEL_INDEX).is_file() || model.join(name).is_dir() => {
                (model.join(name), None)
            }
            Some(folder) => (folder.clone(), None),
        };
        Self { path, overrides: BTreeMap::new(), weights }
    }

    /// Whether something stands in for the component `name`.
    pub(crate) fn overrides(&self, name: &str) -> bool {
        self.overrides.contains_key(name)
    }

    /// The folder `name` next to this one.
    pub(crate) fn sibling(&self, name: &str) -> Self {
        Self { path: self.path.with_file_name(name), overrides: BTreeMap::new(), weights: None }
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
        let bytes = match read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::Load {
                    file,
                    tensor: None,
                    expected: format!("a readable file of at most {MAX_JSON_BYTES} bytes"),
                    found: error.to_string(),
                    source: Some(Box::new(error)),
                });
            }
        };
        serde_json::from_slice(&without_infinities(bytes)).map(Some).map_err(|error| Error::InvalidConfig {
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

    /// The weights: `{stem}.safetensors` or its shards, or their half precision variant, which goes first where
    /// the arithmetic is in half precision.
    pub(crate) fn weights(&self, stem: &str, dtype: DType) -> Result<Vec<PathBuf>, Error> {
        if let Some(file) = &self.weights {
            return Ok(vec![file.clone()]);
        }
        let full = (format!("{stem}.safetensors"), format!("{stem}.safetensors.index.json"));
        let half = (format!("{stem}.fp16.safetensors"), format!("{stem}.safetensors.index.fp16.json"));
        let variants = if dtype == DType::F32 { [full, half] } else { [half, full] };
        for (file, index) in &variants {
            if self.has(file) {
                return Ok(vec![self.file(file)]);
            }
            if self.has(index) {
                return self.shards(index);
            }
        }
        let others = ["bin", "ckpt", "pt", "msgpack", "h5"].map(|ext| format!("{stem}.{ext}"));
        // Transformers calls pickled weights by another stem than its safetensors.
        let pickled = others.into_iter().chain(["pytorch_model.bin".to_owned()]).find(|name| self.has(name));
        Err(Error::Load {
            file: self.path.clone(),
            tensor: None,
            expected: format!("{stem}.safetensors or {stem}.fp16.safetensors, or the index of its shards"),
            found: pickled.unwrap_or_else(|| "neither".to_owned()),
            source: None,
        })
    }

    fn shards(&self, index: &str) -> Result<Vec<PathBuf>, Error> {
        let ShardIndex { weight_map } = self.json(index)?;
        let names = weight_map.into_values().collect::<BTreeSet<_>>();
        if names.is_empty() {
            return Err(self.invalid(index, "weight_map is empty"));
        }
        if let Some(name) = names.iter().find(|name| Path::new(name).components().count() != 1) {
            return Err(self.invalid(index, format!("{name:?} is not the name of a file in this folder")));
        }
        Ok(names.iter().map(|name| self.file(name)).collect())
    }
}

/// Python writes numbers into JSON that JSON does not have (`"lambda_min_clipped": -Infinity` is usual): here
/// they are null, which is the field's absence.
fn without_infinities(bytes: Vec<u8>) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(bytes.len());
    let mut in_string = false;
    let mut rest = &bytes[..];
    while let [first, ..] = rest {
        let word = WORDS.iter().find(|word| !in_string && rest.starts_with(word));
        let taken = match (first, word) {
            (_, Some(word)) => {
                out.extend(b"null");
                rest = &rest[word.len()..];
                continue;
            }
            (b'\\', None) if in_string => rest.len().min(2),
            (b'"', None) => {
                in_string = !in_string;
                1
            }
            _ => 1,
        };
        out.extend(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// The bytes of a regular file that is not too large.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::other("something that is not a file"));
    }
    if metadata.len() > MAX_JSON_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("{} bytes", metadata.len())));
    }
    fs::read(file)
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

#[cfg(test)]
mod tests {
    use super::without_infinities;

    #[test]
    fn numbers_of_python_alone_are_absent_fields() {
        let python = r#"{"a": -Infinity, "b": Infinity, "c": [NaN], "NaN \" NaN": "-Infinity"}"#;
        let json = r#"{"a": null, "b": null, "c": [null], "NaN \" NaN": "-Infinity"}"#;
        assert_eq!(without_infinities(python.into()), json.as_bytes());
    }
}
