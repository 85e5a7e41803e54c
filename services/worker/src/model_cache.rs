//! Which models are in memory, within a budget.

use darkroom_jobs::Lane;
use darkroom_models::Model;

/// Loaded models. Warm ones stay; the least recently used of the others gives way.
pub(crate) struct ModelCache {
    budget_bytes: u64,
    entries: Vec<Entry>,
    uses: u64,
}

struct Entry {
    lane: Lane,
    model: Box<dyn Model>,
    bytes: u64,
    warm: bool,
    last_use: u64,
}

/// A loaded model to keep.
pub(crate) struct Loaded {
    /// Whose jobs it runs.
    pub(crate) lane: Lane,
    /// The model.
    pub(crate) model: Box<dyn Model>,
    /// Memory it takes.
    pub(crate) bytes: u64,
    /// Whether it stays for ever.
    pub(crate) warm: bool,
}

/// A model does not fit, whatever gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// What would be free with every model gone that may go.
    pub(crate) free_bytes: u64,
}

impl ModelCache {
    /// An empty cache for models of `budget_bytes` in all.
    pub(crate) fn new(budget_bytes: u64) -> Self {
        Self { budget_bytes, entries: Vec::new(), uses: 0 }
    }

    /// The lane's model, which counts as used now.
    pub(crate) fn get(&mut self, lane: &Lane) -> Option<&mut dyn Model> {
        self.uses += 1;
        let entry = self.entries.iter_mut().find(|entry| entry.lane == *lane)?;
        entry.last_use = self.uses;
        Some(&mut *entry.model)
    }

    /// Whether the lane's model is loaded. Does not count as a use.
    pub(crate) fn contains(&self, lane: &Lane) -> bool {
        self.entries.iter().any(|entry| entry.lane == *lane)
    }

    /// Evicts until a model of `bytes` fits, and returns whose models went.
    ///
    /// # Errors
    /// When it would not fit even so; nothing is evicted then.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Result<Vec<Lane>, NoRoom> {
        let warm_bytes = self.entries.iter().filter(|entry| entry.warm).map(|entry| entry.bytes).sum();
        let free_bytes = self.budget_bytes.saturating_sub(warm_bytes);
        if bytes > free_bytes {
            return Err(NoRoom { free_bytes });
        }
        let mut evicted = Vec::new();
        while self.used_bytes().saturating_add(bytes) > self.budget_bytes {
            evicted.extend(self.evict_one());
        }
        Ok(evicted)
    }

    /// Evicts the least recently used model that is not warm, if there is one.
    pub(crate) fn evict_one(&mut self) -> Option<Lane> {
        let idle = self.entries.iter().enumerate().filter(|(_, entry)| !entry.warm);
        let (position, _) = idle.min_by_key(|(_, entry)| entry.last_use)?;
        Some(self.entries.swap_remove(position).lane)
    }

    /// Keeps a model, as the most recently used. Room must have been made.
    pub(crate) fn insert(&mut self, loaded: Loaded) {
        let Loaded { lane, model, bytes, warm } = loaded;
        self.uses += 1;
        self.entries.push(Entry { lane, model, bytes, warm, last_use: self.uses });
    }

    /// Lanes whose model is loaded, in the order of their names.
    pub(crate) fn lanes(&self) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = self.entries.iter().map(|entry| entry.lane.clone()).collect();
        lanes.sort();
        lanes
    }

    fn used_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::Pipeline;
    use darkroom_models::{FakeOptions, fake};

    use super::*;

    fn lane(name: &str) -> Lane {
        Lane::new(Pipeline::TextToImage, name).unwrap()
    }

    fn loaded(name: &str, bytes: u64) -> Loaded {
        Loaded {
            lane: lane(name),
            model: fake(FakeOptions::default()),
            bytes,
            warm: name.starts_with("warm"),
        }
    }

    fn cache(budget_bytes: u64, names: &[&str]) -> ModelCache {
        let mut cache = ModelCache::new(budget_bytes);
        for name in names {
            cache.insert(loaded(name, 10));
        }
        cache
    }

    #[test]
    fn least_recently_used_goes_first() {
        let mut cache = cache(30, &["a", "b", "c"]);
        assert!(cache.get(&lane("a")).is_some());
        assert_eq!(cache.make_room(10), Ok(vec![lane("b")]));
        assert_eq!(cache.make_room(20), Ok(vec![lane("c")]));
        assert_eq!(cache.lanes(), [lane("a")]);
    }

    #[test]
    fn warm_models_stay() {
        let mut cache = cache(30, &["warm", "b"]);
        assert_eq!(cache.make_room(10), Ok(vec![]));
        assert_eq!(cache.make_room(20), Ok(vec![lane("b")]));
        assert_eq!(cache.evict_one(), None);
        assert_eq!(cache.lanes(), [lane("warm")]);
    }

    #[test]
    fn what_can_never_fit_evicts_nothing() {
        let mut cache = cache(30, &["warm", "b"]);
        assert_eq!(cache.make_room(21), Err(NoRoom { free_bytes: 20 }));
        assert_eq!(cache.lanes().len(), 2);
    }

    #[test]
    fn without_a_bound_everything_fits() {
        let mut cache = cache(u64::MAX, &["a"]);
        assert_eq!(cache.make_room(u64::MAX - 10), Ok(vec![]));
    }

    #[test]
    fn asking_whether_a_model_is_loaded_is_no_use_of_it() {
        let mut cache = cache(20, &["a", "b"]);
        assert!(cache.contains(&lane("a")));
        assert_eq!(cache.evict_one(), Some(lane("a")));
        assert!(!cache.contains(&lane("a")));
    }
}
