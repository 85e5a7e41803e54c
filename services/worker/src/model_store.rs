//! Weights: from wherever the catalog says to paths on this machine.
//!
//! Local folders are used in place. Repositories of the hub and prefixes of a bucket are fetched into the
//! cache, only the files that are needed, each verified, and never changed afterwards, since loaded models map
//! them into memory. Workers on one machine may share a cache.
//!
//! ```text
//! hub/owner--name/refs/main        the commit that a branch or tag was when it was first asked for
//! hub/owner--name/COMMIT.json      the files of a commit, with sizes and digests
//! hub/owner--name/COMMIT/…         the files
//! hub/owner--name/COMMIT/….part    a file on its way, with its entity tag in ….part.etag
//! hub/owner--name/.lock            held while something of it is written
//! s3/bucket/prefix/FINGERPRINT/…   the same for a prefix; other objects have another fingerprint
//! ```
//!
//! What is in the cache needs no hub any more: a worker starts on it while the hub is away.

mod bucket;
mod digest;
mod download;
mod error;
mod hub;
mod listing;
mod lock;
mod origin;
mod progress;
mod selection;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use darkroom_blobs::Blobs;
use darkroom_jobs::{Lora, SafetyChecker, Source};
use darkroom_models::ModelFolder;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

pub use self::error::Error;
pub use self::progress::Progress;
pub use self::selection::Precision;

use self::hub::Hub;
use self::listing::RemoteFile;
use self::selection::{MODEL_INDEX, components_of};
use self::snapshot::Snapshot;

/// The name of the component that looks at pictures.
const SAFETY_CHECKER: &str = "safety_checker";
/// What diffusers calls a LoRA.
const LORA_FILE: &str = "pytorch_lora_weights.safetensors";

/// What a model store is made from.
#[derive(Debug, Clone)]
pub struct ModelStoreConfig {
    /// Where relative folders begin.
    pub models_dir: PathBuf,
    /// Where fetched files lie.
    pub cache: PathBuf,
    /// The hub.
    pub hub: Url,
    /// What it is shown.
    pub hub_token: Option<SecretString>,
    /// How long to wait for it.
    pub patience: Patience,
}

/// How long to wait, and how often to try again.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next byte.
    pub silence: Duration,
    /// Tries after the first one, in a row without a byte.
    pub retries: usize,
    /// Before the second try; doubled with each further one.
    pub first_pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            retries: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(15),
        }
    }
}

/// A model whose files are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it comes from.
    pub source: Source,
    /// Components that come from elsewhere.
    pub components: BTreeMap<String, Source>,
    /// Fields in place of those of its `scheduler_config.json`.
    pub scheduler: Map<String, Value>,
    /// Whether its safety checker is wanted.
    pub safety_checker: SafetyChecker,
    /// Which form of its weights.
    pub precision: Precision,
}

/// Where files are found and kept.
#[derive(Debug, Clone)]
pub struct ModelStore {
    models_dir: PathBuf,
    cache: PathBuf,
    hub: Hub,
    blobs: Blobs,
    patience: Patience,
    /// Files of the cache that this process has fetched, or found there undamaged.
    verified: Arc<Mutex<HashSet<PathBuf>>>,
}

/// What a source turned out to be.
enum Place {
    /// A folder or file that is used where it is.
    Here(PathBuf),
    /// To be fetched.
    Away(Box<Snapshot>),
}

/// Files of a snapshot that belong to a model.
struct Share {
    snapshot: Snapshot,
    files: Vec<RemoteFile>,
}

impl ModelStore {
    /// A store. Nothing is sent or written yet.
    ///
    /// # Errors
    /// When the machine's certificates cannot be used.
    pub fn new(config: ModelStoreConfig, blobs: Blobs) -> Result<Self, Error> {
        let ModelStoreConfig { models_dir, cache, hub, hub_token, patience } = config;
        let hub = Hub::new(hub, hub_token, patience.clone())?;
        Ok(Self { models_dir, cache, hub, blobs, patience, verified: Arc::default() })
    }

    /// The model's files if all of them come from local folders; whether they exist is for the loader to say.
    /// `None` when something has to be fetched or looked up.
    pub fn at_hand(&self, wanted: &Wanted) -> Option<ModelFolder> {
        let components = wanted.foreign_components();
        let components = components.map(|(name, source)| Some((name.to_owned(), self.local(source)?)));
        let path = self.local(&wanted.source)?;
        let components = components.collect::<Option<_>>()?;
        Some(ModelFolder { path, components, scheduler: wanted.scheduler.clone() })
    }

    /// The model's files, fetched as far as they are not here. Dropping the future stops the fetch; another
    /// goes on where it stopped.
    ///
    /// # Errors
    /// When something cannot be had, verified or stored.
    pub async fn model(&self, wanted: &Wanted, progress: &Progress) -> Result<ModelFolder, Error> {
        let mut shares = Vec::new();
        let path = match self.place(&wanted.source).await? {
            Place::Here(path) => path,
            Place::Away(snapshot) => {
                let files = self.model_files(&snapshot, wanted).await?;
                let path = snapshot.path();
                shares.push(Share { snapshot: *snapshot, files });
                path
            }
        };
        let mut components = BTreeMap::new();
        for (name, source) in wanted.foreign_components() {
            let place = self.place(source).await?;
            components.insert(name.to_owned(), component(place, source, wanted.precision, &mut shares)?);
        }
        self.complete_all(&shares, progress).await?;
        Ok(ModelFolder { path, components, scheduler: wanted.scheduler.clone() })
    }

    /// The LoRA's file, fetched unless it is here.
    ///
    /// # Errors
    /// When it cannot be had, verified or stored, or when there are several and none is named.
    pub async fn lora(&self, lora: &Lora, progress: &Progress) -> Result<PathBuf, Error> {
        let snapshot = match self.place(&lora.source).await? {
            Place::Here(path) if lora.source.is_file() => return Ok(path),
            Place::Here(folder) => return Ok(folder.join(lora.file.as_deref().unwrap_or(LORA_FILE))),
            Place::Away(snapshot) => snapshot,
        };
        let file = lora_file(&snapshot, lora)?.clone();
        let path = snapshot.path_of(&file);
        self.complete_all(&[Share { snapshot: *snapshot, files: vec![file] }], progress).await?;
        Ok(path)
    }

    async fn complete_all(&self, shares: &[Share], progress: &Progress) -> Result<(), Error> {
        progress.begin(shares.iter().flat_map(|share| &share.files).map(|file| file.size_bytes).sum());
        for Share { snapshot, files } in shares {
            self.complete(snapshot, files, progress).await?;
        }
        Ok(())
    }

    /// Picks the files of a model. The index of a pipeline is fetched for that.
    async fn model_files(&self, snapshot: &Snapshot, wanted: &Wanted) -> Result<Vec<RemoteFile>, Error> {
        let shelf = snapshot.shelf();
        let Some(index) = shelf.file(MODEL_INDEX) else { return shelf.component(wanted.precision) };
        self.complete(snapshot, std::slice::from_ref(index), &Progress::default()).await?;
        let path = snapshot.path_of(index);
        let bytes = tokio::fs::read(&path).await.map_err(Error::cache("read", &path))?;
        let parsed = serde_json::from_slice(&bytes);
        let parsed = parsed.map_err(|error| {
            Error::layout(snapshot.subject(), format!("{MODEL_INDEX} is no JSON: {error}"))
        })?;
        let mut names = components_of(&parsed);
        if wanted.safety_checker == SafetyChecker::Off {
            names.remove(SAFETY_CHECKER);
        }
        let elsewhere: BTreeSet<&str> = wanted.foreign_components().map(|(name, _)| name).collect();
        shelf.pipeline(&names, &elsewhere, wanted.precision)
    }

    async fn place(&self, source: &Source) -> Result<Place, Error> {
        if let Some(path) = self.local(source) {
            return Ok(Place::Here(path));
        }
        let snapshot = match source {
            Source::Bucket { bucket, prefix } => self.prefix(bucket, prefix, source.is_file()).await?,
            Source::Hub(repository) | Source::Unnamed { repository, .. } => {
                self.repository(repository).await?
            }
            Source::Fake { .. } | Source::Folder(_) => {
                return Err(Error::layout("the catalog's source", "it has no files"));
            }
        };
        Ok(Place::Away(Box::new(snapshot)))
    }

    fn local(&self, source: &Source) -> Option<PathBuf> {
        match source {
            Source::Folder(folder) => Some(self.models_dir.join(folder)),
            Source::Unnamed { folder, .. } => Some(self.models_dir.join(folder)).filter(|path| path.is_dir()),
            _ => None,
        }
    }
}

impl Wanted {
    /// Components that come from elsewhere, by name.
    fn foreign_components(&self) -> impl Iterator<Item = (&str, &Source)> {
        let checker = match &self.safety_checker {
            SafetyChecker::From(source) => Some((SAFETY_CHECKER, source)),
            _ => None,
        };
        self.components.iter().map(|(name, source)| (name.as_str(), source)).chain(checker)
    }
}

/// Where a component lies or will lie; what is to be fetched is added to `shares`.
fn component(
    place: Place,
    source: &Source,
    precision: Precision,
    shares: &mut Vec<Share>,
) -> Result<PathBuf, Error> {
    let snapshot = match place {
        Place::Here(path) => return Ok(path),
        Place::Away(snapshot) => snapshot,
    };
    let files = if source.is_file() {
        vec![the_file(&snapshot)?.clone()]
    } else {
        snapshot.shelf().component(precision)?
    };
    let path = snapshot.path();
    shares.push(Share { snapshot: *snapshot, files });
    Ok(path)
}

/// The one file that the source names.
fn the_file(snapshot: &Snapshot) -> Result<&RemoteFile, Error> {
    let shelf = snapshot.shelf();
    let missing = || Error::NotFound { subject: format!("{} in {}", shelf.base, shelf.subject) };
    shelf.files.iter().find(|file| file.path == shelf.base).ok_or_else(missing)
}

fn lora_file<'a>(snapshot: &'a Snapshot, lora: &Lora) -> Result<&'a RemoteFile, Error> {
    if lora.source.is_file() {
        return the_file(snapshot);
    }
    let shelf = snapshot.shelf();
    if let Some(name) = &lora.file {
        let missing = || Error::NotFound { subject: format!("{} in {}", shelf.path(name), shelf.subject) };
        return shelf.file(name).ok_or_else(missing);
    }
    let mut files = shelf.folder("");
    files.retain(|name, _| name.ends_with(".safetensors"));
    if let Some(file) = files.get(LORA_FILE) {
        return Ok(file);
    }
    let names: Vec<&str> = files.keys().copied().collect();
    match (&names[..], files.values().next()) {
        ([_], Some(file)) => Ok(file),
        ([], _) => Err(Error::layout(shelf.subject, "it has no .safetensors file")),
        _ => {
            let problem = format!("`file` of the LoRA in the catalog must be one of {}", names.join(", "));
            Err(Error::layout(shelf.subject, problem))
        }
    }
}
