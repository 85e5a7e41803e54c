//! Which models are in memory, within a budget that also holds what they keep for their next request (weights
//! that LoRAs have changed).

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

    /// Makes room for a model of `bytes`: first by what models keep, then by models. Returns whose models went.
    ///
    /// # Errors
    /// When it would not fit even so; nothing goes then.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Result<Vec<Lane>, NoRoom> {
        let warm_bytes = self.entries.iter().filter(|entry| entry.warm).map(|entry| entry.bytes).sum();
        let free_bytes = self.budget_bytes.saturating_sub(warm_bytes);
        if bytes > free_bytes {
            return Err(NoRoom { free_bytes });
        }
        self.release_kept_for(bytes);
        let mut evicted = Vec::new();
        while self.used_bytes().saturating_add(bytes) > self.budget_bytes {
            evicted.extend(self.evict_one());
        }
        Ok(evicted)
    }

    /// Frees what models keep, the least recently used first, until `bytes` more fit or nothing is kept.
    pub(crate) fn release_kept_for(&mut self, bytes: u64) {
        let mut excess = self.used_bytes().saturating_add(bytes).saturating_sub(self.budget_bytes);
        let mut entries = self.entries.iter_mut().collect::<Vec<_>>();
        entries.sort_by_key(|entry| entry.last_use);
        for entry in entries {
            if excess == 0 {
                return;
            }
            excess = excess.saturating_sub(entry.model.kept_bytes());
            entry.model.release_kept();
        }
    }

    /// Frees all that models keep, and returns how many bytes that was.
    pub(crate) fn release_kept(&mut self) -> u64 {
        let bytes = self.kept_bytes();
        self.entries.iter_mut().for_each(|entry| entry.model.release_kept());
        bytes
    }

    /// Bytes that models keep for their next requests.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.model.kept_bytes()).sum()
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
        self.entries.iter().map(|entry| entry.bytes).sum::<u64>() + self.kept_bytes()
    }
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::Pipeline;
    use darkroom_models::{Error, FakeOptions, Request, Run, fake};

    use super::*;

    fn lane(name: &str) -> Lane {
        Lane::new(Pipeline::TextToImage, name).unwrap()
    }

    /// Keeps 5 bytes after its first run.
    #[derive(Default)]
    struct Keeper {
        kept_bytes: u64,
    }

    impl Model for Keeper {
        fn memory_bytes(&self) -> u64 {
            10
        }

        fn kept_bytes(&self) -> u64 {
            self.kept_bytes
        }

        fn release_kept(&mut self) {
            self.kept_bytes = 0;
        }

        fn has_safety_checker(&self) -> bool {
            false
        }

        fn run(&mut self, _: &Request, _: &mut Run<'_>) -> Result<(), Error> {
            self.kept_bytes = 5;
            Ok(())
        }
    }

    fn keepers(budget_bytes: u64, names: &[&str]) -> ModelCache {
        let mut cache = ModelCache::new(budget_bytes);
        for name in names {
            let mut loaded = loaded(name, 10);
            loaded.model = Box::new(Keeper::default());
            cache.insert(loaded);
            keep(&mut cache, name);
        }
        cache
    }

    fn keep(cache: &mut ModelCache, name: &str) {
        let request = Request::ImageToText { image: image::RgbImage::new(1, 1), prompt: String::new() };
        let mut run = Run {
            canceled: &std::sync::atomic::AtomicBool::new(false),
            on_progress: &mut |_| {},
            on_output: &mut |_| {},
            on_warning: &mut |_| {},
            previews: None,
        };
        cache.get(&lane(name)).unwrap().run(&request, &mut run).unwrap();
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
    fn what_models_keep_goes_before_any_model() {
        let mut cache = keepers(40, &["a", "b", "warm"]);
        assert_eq!(cache.used_bytes(), 45);
        keep(&mut cache, "a");
        assert_eq!(cache.make_room(0), Ok(vec![]));
        assert_eq!(cache.entries.iter().map(|entry| entry.model.kept_bytes()).collect::<Vec<_>>(), [5, 0, 5]);
        assert_eq!(cache.make_room(10), Ok(vec![]));
        assert_eq!(cache.used_bytes(), 30);
        keep(&mut cache, "warm");
        assert_eq!(cache.make_room(20), Ok(vec![lane("b")]));
        assert_eq!((cache.used_bytes(), cache.lanes()), (20, vec![lane("a"), lane("warm")]));
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
