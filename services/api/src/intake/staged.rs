//! Objects that wait for their job.

use darkroom_blobs::Blobs;
use tokio_util::task::TaskTracker;

/// An object that is deleted when this is dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Staged {
    /// `None` once it is kept.
    key: Option<String>,
    blobs: Blobs,
    tasks: TaskTracker,
}

impl Staged {
    /// Guards the object at `key`, whether it is there yet or not.
    pub(super) fn new(key: String, blobs: Blobs, tasks: TaskTracker) -> Self {
        Self { key: Some(key), blobs, tasks }
    }

    /// Leaves the object to its job.
    pub(super) fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let blobs = self.blobs.clone();
        self.tasks.spawn(async move {
            // Bounded: the store's client has its own time limits and retries.
            if let Err(error) = blobs.delete(std::slice::from_ref(&key)).await {
                tracing::warn!(%error, key, "failed to delete the picture of a refused request");
            }
        });
    }
}
