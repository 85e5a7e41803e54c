//! One state of a repository or prefix, and the folder of the cache where its files lie.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use darkroom_jobs::Repository;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::fs;

use super::bucket::Bucket;
use super::download::Download;
use super::hub::MAIN;
use super::listing::{RemoteFile, check_paths};
use super::lock::Lock;
use super::origin::Origin;
use super::selection::Shelf;
use super::{Error, ModelStore, Progress, digest};

/// Files of one model that are fetched at once.
const AT_ONCE: usize = 4;

/// One state of a repository or prefix, which does not change.
#[derive(Debug)]
pub(super) struct Snapshot {
    origin: Origin,
    subject: String,
    /// Where its files lie, with the paths they have there.
    folder: PathBuf,
    files: Vec<RemoteFile>,
    /// The folder or file meant, without a slash at either end; empty for all of it.
    base: String,
}

impl Snapshot {
    /// Its files, to pick from.
    pub(super) fn shelf(&self) -> Shelf<'_> {
        Shelf { subject: &self.subject, files: &self.files, base: &self.base }
    }

    /// Where the folder or file that is meant lies.
    pub(super) fn path(&self) -> PathBuf {
        if self.base.is_empty() { self.folder.clone() } else { self.folder.join(&self.base) }
    }

    /// Where a file of it lies.
    pub(super) fn path_of(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join(&file.path)
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }
}

impl ModelStore {
    /// The state of a repository that its revision names. What a branch or tag was at first stays so: the
    /// commit is recorded in the cache, as is the list of its files.
    ///
    /// # Errors
    /// When the hub does not say, or the cache cannot be written.
    pub(super) async fn repository(&self, repository: &Repository) -> Result<Snapshot, Error> {
        let Repository { id, revision, path } = repository;
        let root = self.cache.join("hub").join(id.replace('/', "--"));
        let revision = revision.as_deref().unwrap_or(MAIN);
        let commit = if repository.is_pinned() {
            revision.to_owned()
        } else {
            let commit = self.commit(&root, id, revision).await?;
            tracing::warn!(
                repository = id,
                revision,
                commit,
                "a model of the hub is not pinned; its `revision` in the catalog should be this commit"
            );
            commit
        };
        let listing = root.join(format!("{commit}.json"));
        let files = match read_json(&listing).await {
            Some(files) => files,
            None => {
                let _lock = Lock::acquire(&root).await?;
                self.tree(id, &commit, &listing).await?
            }
        };
        let folder = root.join(&commit);
        let origin = Origin::Hub { hub: self.hub.clone(), id: id.clone(), commit };
        Ok(Snapshot { subject: origin.subject(), origin, folder, files, base: path.clone() })
    }

    /// The files of a commit, recorded in `listing`.
    async fn tree(&self, id: &str, commit: &str, listing: &Path) -> Result<Vec<RemoteFile>, Error> {
        // Another process may have recorded them while this one waited for the lock.
        if let Some(files) = read_json(listing).await {
            return Ok(files);
        }
        let files = self.hub.tree(id, commit).await?;
        check_paths(id, &files)?;
        write_json(listing, &files).await?;
        Ok(files)
    }

    async fn commit(&self, root: &Path, id: &str, revision: &str) -> Result<String, Error> {
        let record = root.join("refs").join(revision.replace('/', "%2F"));
        let recorded =
            async || read_json::<String>(&record).await.filter(|commit| darkroom_jobs::is_commit(commit));
        if let Some(commit) = recorded().await {
            return Ok(commit);
        }
        let _lock = Lock::acquire(root).await?;
        if let Some(commit) = recorded().await {
            return Ok(commit);
        }
        let commit = self.hub.commit(id, revision).await?;
        write_json(&record, &commit).await?;
        Ok(commit)
    }

    /// The state of a prefix at this moment. The last part of it may be a file.
    ///
    /// # Errors
    /// When there is nothing, or the store of objects does not say.
    pub(super) async fn prefix(&self, bucket: &str, prefix: &str, is_file: bool) -> Result<Snapshot, Error> {
        let (prefix, base) = match prefix.rsplit_once('/') {
            Some((folder, file)) if is_file => (folder, file),
            None if is_file => ("", prefix),
            _ => (prefix, ""),
        };
        let remote = Bucket::new(&self.blobs, bucket, prefix);
        let files = remote.list().await?;
        check_paths(&remote.subject(), &files)?;
        let folder = self.cache.join("s3").join(bucket).join(prefix).join(remote.fingerprint(&files));
        let origin = Origin::Bucket(remote);
        Ok(Snapshot { subject: origin.subject(), origin, folder, files, base: base.to_owned() })
    }

    /// Fetches those of `files` that are not here.
    ///
    /// # Errors
    /// When one of them cannot be had or stored.
    pub(super) async fn complete(
        &self,
        snapshot: &Snapshot,
        files: &[RemoteFile],
        progress: &Progress,
    ) -> Result<(), Error> {
        if self.missing(snapshot, files).await.is_empty() {
            progress.add(files.iter().map(|file| file.size_bytes).sum());
            return Ok(());
        }
        let beside = snapshot.folder.parent().unwrap_or(&snapshot.folder);
        let _lock = Lock::acquire(beside).await?;
        // Another process may have fetched them meanwhile.
        let missing = self.missing(snapshot, files).await;
        let here = files.iter().filter(|file| !missing.contains(file));
        progress.add(here.map(|file| file.size_bytes).sum());
        let fetches: Vec<_> = missing.into_iter().map(|file| self.fetch(snapshot, file, progress)).collect();
        stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn fetch(&self, snapshot: &Snapshot, file: &RemoteFile, progress: &Progress) -> Result<(), Error> {
        let Snapshot { origin, folder, .. } = snapshot;
        Download { origin, file, folder, patience: &self.patience, progress }.run().await?;
        self.verified().insert(snapshot.path_of(file));
        Ok(())
    }

    /// Those of the files that are not here, or not as they were when they were fetched: a disk may forget.
    async fn missing<'a>(&self, snapshot: &Snapshot, files: &'a [RemoteFile]) -> Vec<&'a RemoteFile> {
        let looks: Vec<_> = files.iter().map(|file| self.is_sound(snapshot, file)).collect();
        let sound: Vec<bool> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        files.iter().zip(sound).filter(|(_, sound)| !sound).map(|(file, _)| file).collect()
    }

    /// Whether a file is here, undamaged. Its bytes are read once in the life of the process.
    async fn is_sound(&self, snapshot: &Snapshot, file: &RemoteFile) -> bool {
        let path = snapshot.path_of(file);
        let found = fs::metadata(&path).await;
        if !found.is_ok_and(|found| found.is_file() && found.len() == file.size_bytes) {
            return false;
        }
        let Some(expected) = file.digest.clone() else { return true };
        if self.verified().contains(&path) {
            return true;
        }
        let (read, like) = (path.clone(), expected.clone());
        let found = tokio::task::spawn_blocking(move || digest::of_file(&read, &like)).await;
        let sound = matches!(found, Ok(Ok(found)) if found == expected);
        if sound {
            self.verified().insert(path);
        } else {
            tracing::warn!(file = %path.display(), "a cached file is damaged, fetching it again");
        }
        sound
    }

    fn verified(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record of the cache; `None` when there is none that can be read.
async fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).await.ok()?).ok()
}

async fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).await.map_err(Error::cache("create", folder))?;
    let bytes = serde_json::to_vec(value).map_err(|error| Error::cache("write", path)(error.into()))?;
    let part = path.with_added_extension("part");
    fs::write(&part, bytes).await.map_err(Error::cache("write", &part))?;
    fs::rename(&part, path).await.map_err(Error::cache("rename", &part))
}
