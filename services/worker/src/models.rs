//! The models of one device: loaded on demand, evicted when room is needed.

use std::sync::Arc;

use darkroom_jobs::{Lane, SafetyChecker};
use darkroom_models::{
    Device, Error, FakeOptions, LoadOptions, Model, ModelFolder, Request, Run, fake, load, weights_bytes,
};
use tokio::sync::watch;

use crate::library::Library;
use crate::measure;
use crate::model_cache::{Loaded, ModelCache, NoRoom};
use crate::served::{Served, ServedModel, Weights};

/// Why a model is not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// It cannot be read, or the device refuses it.
    #[error(transparent)]
    Model(#[from] Error),
    /// It does not fit into the budget beside the warm models.
    #[error("{needed_bytes} bytes of weights are more than the {free_bytes} bytes beside the warm models")]
    TooLarge {
        /// What it needs.
        needed_bytes: u64,
        /// What it could have.
        free_bytes: u64,
    },
    /// The catalog asks for a safety checker.
    #[error("the catalog asks for a safety checker, and the model has none")]
    NoSafetyChecker,
    /// Its files are not here yet, or not any more.
    #[error("its files are not here")]
    NoFiles,
    /// Loading it panicked.
    #[error("panicked while loading: {0}")]
    Panicked(String),
    /// No model of the catalog has this lane.
    #[error("no model is served in this lane")]
    NotServed,
}

/// What [`Models`] is made from.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) served: Arc<Served>,
    pub(crate) library: Arc<Library>,
    pub(crate) device: Device,
    pub(crate) budget_bytes: u64,
    /// Hears which lanes' models are loaded.
    pub(crate) loaded: watch::Sender<Vec<Lane>>,
}

/// The models of one device. Belongs to the device's thread.
pub(crate) struct Models {
    setup: Setup,
    cache: ModelCache,
}

impl Models {
    /// None loaded.
    pub(crate) fn new(setup: Setup) -> Self {
        let cache = ModelCache::new(setup.budget_bytes);
        let models = Self { setup, cache };
        models.publish();
        models
    }

    /// Loads the lane's model unless it is loaded, evicting others where room is needed. Takes seconds.
    pub(crate) fn ensure(&mut self, lane: &Lane) -> Result<(), LoadError> {
        if self.cache.contains(lane) {
            return Ok(());
        }
        let served = self.setup.served.clone();
        let served = served.of(lane).ok_or(LoadError::NotServed)?;
        let outcome = self.load(served);
        measure::model_load(lane, &outcome);
        self.publish();
        outcome
    }

    /// Runs a request on the lane's model, which must be loaded.
    pub(crate) fn run(&mut self, lane: &Lane, request: &Request, run: &mut Run<'_>) -> Result<(), Error> {
        let model =
            self.cache.get(lane).ok_or_else(|| Error::Unsupported("the model is not loaded".into()))?;
        let outcome = model.run(request, run);
        self.cache.release_kept_for(0);
        if matches!(outcome, Err(Error::OutOfMemory(_))) {
            self.release();
        }
        outcome
    }

    /// Frees what may be freed.
    fn release(&mut self) {
        self.cache.release_kept();
        while let Some(evicted) = self.cache.evict_one() {
            measure::model_eviction(&evicted);
        }
        self.publish();
    }

    fn load(&mut self, served: &ServedModel) -> Result<(), LoadError> {
        let needed_bytes = match served.memory_bytes {
            Some(bytes) => bytes,
            None => self.weights_bytes(served)?,
        };
        let evicted = self
            .cache
            .make_room(needed_bytes)
            .map_err(|NoRoom { free_bytes }| LoadError::TooLarge { needed_bytes, free_bytes })?;
        evicted.iter().for_each(measure::model_eviction);
        let model = loop {
            match self.read(served) {
                // The budget was too generous, or there is none: make room by trying.
                Err(LoadError::Model(Error::OutOfMemory(_))) if self.cache.release_kept() > 0 => {}
                Err(LoadError::Model(Error::OutOfMemory(error))) => match self.cache.evict_one() {
                    Some(evicted) => measure::model_eviction(&evicted),
                    None => return Err(Error::OutOfMemory(error).into()),
                },
                other => break other?,
            }
        };
        if served.needs_safety_checker() && !model.has_safety_checker() {
            return Err(LoadError::NoSafetyChecker);
        }
        self.setup.library.loaded(&served.lane, model.has_safety_checker());
        let bytes = served.memory_bytes.unwrap_or_else(|| model.memory_bytes());
        tracing::info!(lane = %served.lane, bytes, warm = served.warm, "model loaded");
        self.cache.insert(Loaded { lane: served.lane.clone(), model, bytes, warm: served.warm });
        Ok(())
    }

    fn weights_bytes(&self, served: &ServedModel) -> Result<u64, LoadError> {
        if let Weights::Fake(_) = served.weights {
            return Ok(0);
        }
        let (folder, pipeline) = (self.folder(served)?, served.lane.pipeline());
        Ok(weights_bytes(&folder, pipeline, &self.setup.device, &options(served))?)
    }

    fn read(&self, served: &ServedModel) -> Result<Box<dyn Model>, LoadError> {
        if let Weights::Fake(step_time) = served.weights {
            return Ok(fake(FakeOptions { step_time, ..FakeOptions::default() }));
        }
        let (folder, pipeline) = (self.folder(served)?, served.lane.pipeline());
        Ok(load(&folder, pipeline, &self.setup.device, &options(served))?)
    }

    fn folder(&self, served: &ServedModel) -> Result<ModelFolder, LoadError> {
        self.setup.library.folder(&served.lane).ok_or(LoadError::NoFiles)
    }

    fn publish(&self) {
        self.setup.loaded.send_replace(self.cache.lanes());
    }
}

fn options(served: &ServedModel) -> LoadOptions {
    let without_safety_checker = match &served.weights {
        Weights::Files(wanted) => wanted.safety_checker == SafetyChecker::Off,
        Weights::Fake(_) => false,
    };
    let (dtype, deep_cache) = (served.dtype, served.deep_cache);
    LoadOptions { dtype, without_safety_checker, deep_cache, ..LoadOptions::default() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use darkroom_jobs::{Pipeline, Task};
    use darkroom_models::Lora;

    use super::*;

    fn models(budget_bytes: u64, names: &[(&str, u64)]) -> (Models, watch::Receiver<Vec<Lane>>) {
        let model = |(name, bytes): &(&str, u64)| ServedModel {
            lane: lane(name),
            warm: name.starts_with("warm"),
            weights: Weights::Fake(Duration::ZERO),
            dtype: None,
            deep_cache: None,
            memory_bytes: Some(*bytes),
            timeout: Duration::from_secs(1),
        };
        let served = Arc::new(Served::of_models(names.iter().map(model).collect()));
        let library = Arc::new(Library::needless(served.lanes()));
        let (loaded, lanes) = watch::channel(Vec::new());
        let setup = Setup { served, library, device: Device::cpu(), budget_bytes, loaded };
        (Models::new(setup), lanes)
    }

    fn lane(name: &str) -> Lane {
        format!("text-to-image:{name}").parse().unwrap()
    }

    #[test]
    fn loaded_lanes_are_published() {
        let (mut models, lanes) = models(20, &[("warm", 10), ("b", 10), ("c", 10)]);
        for name in ["warm", "b", "c"] {
            models.ensure(&lane(name)).unwrap();
        }
        assert_eq!(*lanes.borrow(), [lane("c"), lane("warm")]);
    }

    /// The bundled model, which keeps the weights that its LoRA has changed as far as the budget allows.
    #[test]
    fn what_a_run_leaves_is_kept_within_the_budget() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let lora = Lora {
            id: "frame".to_owned(),
            path: folder.join("shapes-lora/pytorch_lora_weights.safetensors"),
            strength: 1.0,
        };
        let input = serde_json::json!({
            "pipeline": "text-to-image", "prompt": "a red circle", "width": 8, "height": 8, "steps": 1,
            "guidance_scale": 1.0, "seed": 7, "images": 1, "safety_check": false,
        });
        let Task::TextToImage(task) = serde_json::from_value(input).unwrap() else { panic!("no such task") };
        let request = Request::TextToImage { task, loras: vec![lora], done: vec![] };
        for (budget_bytes, keeps) in [(u64::MAX, true), (10, false)] {
            let (mut models, _lanes) = models(budget_bytes, &[("warm", 10)]);
            let folder = folder.join("shapes-sd").into();
            let model =
                load(&folder, Pipeline::TextToImage, &Device::cpu(), &LoadOptions::default()).unwrap();
            models.cache.insert(Loaded { lane: lane("warm"), model, bytes: 10, warm: true });
            let mut run = Run {
                canceled: &false.into(),
                on_progress: &mut |_| {},
                on_output: &mut |_| {},
                on_warning: &mut |_| {},
                previews: None,
            };
            models.run(&lane("warm"), &request, &mut run).unwrap();
            assert_eq!(models.cache.kept_bytes() > 0, keeps);
        }
    }

    #[test]
    fn what_is_too_large_or_not_served_is_an_error() {
        let (mut models, _lanes) = models(20, &[("warm", 15), ("b", 10)]);
        models.ensure(&lane("warm")).unwrap();
        let error = models.ensure(&lane("b")).unwrap_err();
        assert!(matches!(error, LoadError::TooLarge { needed_bytes: 10, free_bytes: 5 }), "{error}");
        assert!(matches!(models.ensure(&lane("x")), Err(LoadError::NotServed)));
    }
}
