//! Changed weights that are kept for the next request.

use std::sync::Arc;

use super::merge::Merged;
use super::set::LoraSet;

/// At most so many bytes; the least recently used go first.
pub(super) struct Cache {
    capacity_bytes: u64,
    /// The least recently used first.
    entries: Vec<(LoraSet, Arc<Merged>)>,
}

impl Cache {
    pub(super) fn new(capacity_bytes: u64) -> Self {
        Self { capacity_bytes, entries: Vec::new() }
    }

    /// What was kept for the set, which is now the most recently used.
    pub(super) fn get(&mut self, set: &LoraSet) -> Option<Arc<Merged>> {
        let index = self.entries.iter().position(|(kept, _)| kept == set)?;
        let entry = self.entries.remove(index);
        let merged = entry.1.clone();
        self.entries.push(entry);
        Some(merged)
    }

    /// Drops what must go for `bytes` more; nothing, if those would not be kept.
    pub(super) fn make_room(&mut self, bytes: u64) {
        let Some(most) = self.capacity_bytes.checked_sub(bytes) else { return };
        while self.bytes() > most {
            self.entries.remove(0);
        }
    }

    /// Keeps the weights, unless they are more than may be kept.
    pub(super) fn insert(&mut self, set: LoraSet, merged: Arc<Merged>) {
        let bytes = merged.bytes();
        if bytes <= self.capacity_bytes {
            self.make_room(bytes);
            self.entries.push((set, merged));
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().map(|(_, merged)| merged.bytes()).sum()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}
