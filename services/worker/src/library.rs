//! Which models' and LoRAs' files are on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use darkroom_jobs::Lane;
use darkroom_models::ModelFolder;
use darkroom_store::{FilesStatus, ModelStatus};
use tokio::sync::watch;

use crate::model_store::{ModelStore, Progress};
use crate::served::{Served, Weights};

/// What is known of the files of every served model. A lane is asked for only once its model's are here.
#[derive(Debug)]
pub(crate) struct Library {
    books: Mutex<BTreeMap<Lane, Book>>,
    /// The files of LoRAs that were asked for, by id.
    loras: Mutex<BTreeMap<String, PathBuf>>,
    /// Counts files that came.
    arrivals: watch::Sender<u64>,
}

#[derive(Debug)]
struct Book {
    files: Files,
    /// Whether the loaded model had a safety checker.
    safety_checker: Option<bool>,
}

/// A model's files.
#[derive(Debug, Clone)]
enum Files {
    /// It has none.
    Needless,
    Absent,
    Fetching(Arc<Progress>),
    Here(ModelFolder),
    /// Why, for callers.
    Failed(&'static str),
}

impl Library {
    /// What is at hand without fetching anything.
    pub(crate) fn new(served: &Served, store: &ModelStore) -> Self {
        let files = |weights: &Weights| match weights {
            Weights::Fake(_) => Files::Needless,
            Weights::Files(wanted) => store.at_hand(wanted).map_or(Files::Absent, Files::Here),
        };
        Self::of(served.models().iter().map(|model| (model.lane.clone(), files(&model.weights))))
    }

    /// Of models that have no files.
    #[cfg(test)]
    pub(crate) fn needless(lanes: impl IntoIterator<Item = Lane>) -> Self {
        Self::of(lanes.into_iter().map(|lane| (lane, Files::Needless)))
    }

    fn of(files: impl Iterator<Item = (Lane, Files)>) -> Self {
        let books = files.map(|(lane, files)| (lane, Book { files, safety_checker: None })).collect();
        Self { books: Mutex::new(books), loras: Mutex::default(), arrivals: watch::Sender::new(0) }
    }

    /// Whether the lane's model can be loaded.
    pub(crate) fn has(&self, lane: &Lane) -> bool {
        let books = self.lock();
        books.get(lane).is_some_and(|book| matches!(book.files, Files::Needless | Files::Here(_)))
    }

    /// Where the lane's model lies, if it has files and they are here.
    pub(crate) fn folder(&self, lane: &Lane) -> Option<ModelFolder> {
        match &self.lock().get(lane)?.files {
            Files::Here(folder) => Some(folder.clone()),
            _ => None,
        }
    }

    /// Changes when files came.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// The lane's files are being fetched.
    pub(crate) fn fetching(&self, lane: &Lane, progress: Arc<Progress>) {
        self.set(lane, Files::Fetching(progress));
    }

    /// The lane's files could not be had.
    pub(crate) fn failed(&self, lane: &Lane, reason: &'static str) {
        self.set(lane, Files::Failed(reason));
    }

    /// The lane's files are here.
    pub(crate) fn arrived(&self, lane: &Lane, folder: ModelFolder) {
        self.set(lane, Files::Here(folder));
        self.arrivals.send_modify(|count| *count += 1);
    }

    /// Where the LoRA's file was found before, if it still lies there.
    pub(crate) fn lora(&self, id: &str) -> Option<PathBuf> {
        let found = lock(&self.loras).get(id).cloned();
        found.filter(|path| path.is_file())
    }

    /// The LoRA's file is here, and is not looked for again while this process runs.
    pub(crate) fn lora_arrived(&self, id: &str, path: &Path) {
        lock(&self.loras).insert(id.to_owned(), path.to_owned());
    }

    /// The lane's model was loaded.
    pub(crate) fn loaded(&self, lane: &Lane, safety_checker: bool) {
        if let Some(book) = self.lock().get_mut(lane) {
            book.safety_checker = Some(safety_checker);
        }
    }

    /// Why the lane's model cannot be loaded yet, for readiness.
    pub(crate) fn obstacle(&self, lane: &Lane) -> Option<String> {
        match &self.lock().get(lane)?.files {
            Files::Needless | Files::Here(_) => None,
            Files::Absent => Some("its files are waiting to be fetched".to_owned()),
            Files::Fetching(progress) => {
                let (downloaded, total) = progress.bytes();
                Some(format!("its files are being fetched, {downloaded} of {total} bytes"))
            }
            Files::Failed(reason) => Some((*reason).to_owned()),
        }
    }

    /// What others may know of it.
    pub(crate) fn report(&self) -> BTreeMap<Lane, ModelStatus> {
        let status = |book: &Book| ModelStatus {
            files: match &book.files {
                Files::Needless | Files::Here(_) => FilesStatus::Available,
                Files::Absent => FilesStatus::Absent,
                Files::Fetching(progress) => {
                    let (downloaded_bytes, total_bytes) = progress.bytes();
                    FilesStatus::Downloading { downloaded_bytes, total_bytes }
                }
                Files::Failed(reason) => FilesStatus::Failed { reason: (*reason).to_owned() },
            },
            safety_checker: book.safety_checker,
        };
        self.lock().iter().map(|(lane, book)| (lane.clone(), status(book))).collect()
    }

    fn set(&self, lane: &Lane, files: Files) {
        if let Some(book) = self.lock().get_mut(lane) {
            book.files = files;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Lane, Book>> {
        lock(&self.books)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lora_is_known_as_long_as_its_file_lies_there() {
        let library = Library::needless([]);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(library.lora("a"), None);
        library.lora_arrived("a", file.path());
        assert_eq!(library.lora("a"), Some(file.path().to_owned()));
        file.close().unwrap();
        assert_eq!(library.lora("a"), None);
    }
}
