//! Which files of a repository are needed.
//!
//! Configurations, vocabularies and one form of each component's weights, safetensors only. Everything else
//! (pickles, other frameworks, checkpoints of a whole model in one file, pictures) is left where it is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Error;
use super::listing::RemoteFile;

/// What a repository of diffusers begins with.
pub(super) const MODEL_INDEX: &str = "model_index.json";
const CONFIG: &str = "config.json";

/// What weights are called without their form: by diffusers, and by transformers.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// How weights end that run code when they are read.
const PICKLES: [&str; 3] = [".bin", ".ckpt", ".pt"];

/// Which of two forms of the same weights to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The full one, else `fp16`: for arithmetic in f32.
    Full,
    /// The variant `fp16`, half the size, else the full one: for arithmetic in 16 bits, to which both come down.
    Half,
}

impl Precision {
    fn variants(self) -> [&'static str; 2] {
        match self {
            Self::Full => ["", ".fp16"],
            Self::Half => [".fp16", ""],
        }
    }
}

/// Components of a pipeline, by what its index says: `"name": ["library", "class"]`, without those that are
/// null.
pub(super) fn components_of(index: &Value) -> BTreeSet<String> {
    let Value::Object(index) = index else { return BTreeSet::new() };
    let present =
        |value: &Value| value.as_array().is_some_and(|pair| pair.iter().any(|part| !part.is_null()));
    let named = index.iter().filter(|(name, value)| !name.starts_with('_') && present(value));
    named.map(|(name, _)| name.clone()).collect()
}

/// A repository, or a folder in one, from which files are picked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shelf<'a> {
    /// For errors: the repository.
    pub(super) subject: &'a str,
    /// Everything there is.
    pub(super) files: &'a [RemoteFile],
    /// The folder meant, without a slash at the end; empty for all of it.
    pub(super) base: &'a str,
}

impl<'a> Shelf<'a> {
    /// The path of something in the folder.
    pub(super) fn path(&self, name: &str) -> String {
        if self.base.is_empty() { name.to_owned() } else { format!("{}/{name}", self.base) }
    }

    pub(super) fn file(&self, name: &str) -> Option<&'a RemoteFile> {
        let path = self.path(name);
        self.files.iter().find(|file| file.path == path)
    }

    /// Files right in the folder `name` (`""` for the shelf's own), by their names.
    pub(super) fn folder(&self, name: &str) -> BTreeMap<&'a str, &'a RemoteFile> {
        let folder = if name.is_empty() { self.base.to_owned() } else { self.path(name) };
        let inside = |file: &'a RemoteFile| {
            let name = match folder.as_str() {
                "" => Some(&*file.path),
                folder => file.path.strip_prefix(folder)?.strip_prefix('/'),
            };
            name.filter(|name| !name.contains('/')).map(|name| (name, file))
        };
        self.files.iter().filter_map(inside).collect()
    }

    /// The files of a pipeline with these components. Of components in `elsewhere` the weights are left out.
    ///
    /// # Errors
    /// When a component has a configuration and no weights that can be read.
    pub(super) fn pipeline(
        &self,
        components: &BTreeSet<String>,
        elsewhere: &BTreeSet<&str>,
        precision: Precision,
    ) -> Result<Vec<RemoteFile>, Error> {
        let mut needed: Vec<RemoteFile> = self.file(MODEL_INDEX).into_iter().cloned().collect();
        for name in components {
            let files = self.folder(name);
            needed.extend(texts(&files));
            if !elsewhere.contains(name.as_str()) {
                needed.extend(self.weights(name, &files, precision)?);
            }
        }
        Ok(needed)
    }

    /// The files of a single model or component, which lie right in the folder.
    ///
    /// # Errors
    /// When it has no configuration, or no weights that can be read.
    pub(super) fn component(&self, precision: Precision) -> Result<Vec<RemoteFile>, Error> {
        let files = self.folder("");
        if !files.contains_key(CONFIG) {
            let place = if self.base.is_empty() { String::new() } else { format!(" in {}", self.base) };
            let problem = format!("there is neither {MODEL_INDEX} nor {CONFIG}{place}");
            return Err(Error::layout(self.subject, problem));
        }
        let mut needed: Vec<RemoteFile> = texts(&files).collect();
        needed.extend(self.weights("", &files, precision)?);
        Ok(needed)
    }

    /// One form of the weights in a folder: whole or in shards, full or `fp16`.
    fn weights(
        &self,
        component: &str,
        files: &BTreeMap<&str, &RemoteFile>,
        precision: Precision,
    ) -> Result<Vec<RemoteFile>, Error> {
        for stem in STEMS {
            for variant in precision.variants() {
                let found = whole(files, stem, variant).or_else(|| shards(files, stem, variant));
                if let Some(found) = found {
                    return Ok(found);
                }
            }
        }
        if !files.contains_key(CONFIG) {
            // A tokenizer, a scheduler, an image processor.
            return Ok(Vec::new());
        }
        let place = if component.is_empty() { self.base.to_owned() } else { self.path(component) };
        let pickle = files.keys().find(|name| PICKLES.iter().any(|end| name.ends_with(end)));
        let found = pickle.map_or_else(String::new, |name| format!(", only {name}, which is never read"));
        let expected = STEMS.map(|stem| format!("{stem}.safetensors")).join(" or ");
        let problem = format!("the folder {place:?} has no {expected}{found}");
        Err(Error::layout(self.subject, problem))
    }
}

/// Configurations, vocabularies and merges.
fn texts<'a>(files: &BTreeMap<&str, &'a RemoteFile>) -> impl Iterator<Item = RemoteFile> + use<'a> {
    let small = |name: &str| [".json", ".txt", ".model"].iter().any(|end| name.ends_with(end));
    let wanted = |name: &str| small(name) && !name.contains(".index.");
    files
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(_, file)| (*file).clone())
        .collect::<Vec<_>>()
        .into_iter()
}

fn whole(files: &BTreeMap<&str, &RemoteFile>, stem: &str, variant: &str) -> Option<Vec<RemoteFile>> {
    let file = files.get(format!("{stem}{variant}.safetensors").as_str())?;
    Some(vec![(*file).clone()])
}

/// The index and every shard: `stem-00001-of-00002.safetensors` with `stem.safetensors.index.json`, and with a
/// variant `stem.fp16-00001-of-00002.safetensors` with `stem.safetensors.index.fp16.json`.
fn shards(files: &BTreeMap<&str, &RemoteFile>, stem: &str, variant: &str) -> Option<Vec<RemoteFile>> {
    let names = [
        format!("{stem}.safetensors.index{variant}.json"),
        format!("{stem}{variant}.safetensors.index.json"),
    ];
    let index = names.iter().find_map(|name| files.get(name.as_str()))?;
    let begin = format!("{stem}{variant}-");
    let is_shard = |name: &str| {
        let number = name.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(".safetensors"));
        number.is_some_and(|number| number.split("-of-").all(|part| part.bytes().all(|b| b.is_ascii_digit())))
    };
    let shards = files.iter().filter(|(name, _)| is_shard(name)).map(|(_, file)| (*file).clone());
    Some(std::iter::once((*index).clone()).chain(shards).collect())
}

#[cfg(test)]
mod tests;
