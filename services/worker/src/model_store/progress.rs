//! How far a fetch is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of one model's files. Shared between the fetch and those who watch it.
#[derive(Debug, Default)]
pub struct Progress {
    downloaded: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes that are here, of all that belong to the model; 0 of 0 until that is known.
    pub fn bytes(&self) -> (u64, u64) {
        (self.downloaded.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    pub(super) fn begin(&self, total: u64) {
        self.downloaded.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.downloaded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was counted turned out to be of no use.
    pub(super) fn take_back(&self, bytes: u64) {
        self.downloaded.fetch_sub(bytes, Ordering::Relaxed);
    }
}
