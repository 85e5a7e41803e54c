//! The part of the catalog that this worker serves.

use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, bail};
use darkroom_jobs::{Catalog, Lane, Lora, Model, SafetyChecker, Source};
use darkroom_models::DType;

use crate::WorkerConfig;
use crate::model_store::{Precision, Wanted};

/// The models this worker serves, in the order of the catalog. Never empty.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    models: Vec<ServedModel>,
    loras: Vec<Lora>,
}

/// A model this worker serves.
#[derive(Debug, Clone)]
pub(crate) struct ServedModel {
    /// Where its jobs wait.
    pub(crate) lane: Lane,
    /// Loaded at start and never evicted.
    pub(crate) warm: bool,
    /// Where its weights are.
    pub(crate) weights: Weights,
    /// Precision; the device's own choice when absent.
    pub(crate) dtype: Option<DType>,
    /// How many steps of a picture share deeper features.
    pub(crate) deep_cache: Option<NonZeroU32>,
    /// What the catalog says of its size; measured when absent.
    pub(crate) memory_bytes: Option<u64>,
    /// Time limit of one attempt.
    pub(crate) timeout: Duration,
}

/// Where weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Weights {
    /// Nowhere: the fake, with this time for a step.
    Fake(Duration),
    /// In files that are here, or are to be fetched.
    Files(Box<Wanted>),
}

impl Served {
    /// Reads the catalog and picks what is to be served, by a device whose usual precision is `usual`.
    pub(crate) fn read(config: &WorkerConfig, usual: DType) -> anyhow::Result<Self> {
        let path = config.catalog.display();
        let text = fs::read_to_string(&config.catalog)
            .with_context(|| format!("failed to read DARKROOM_CATALOG {path}"))?;
        let catalog =
            Catalog::parse(&text).with_context(|| format!("failed to read DARKROOM_CATALOG {path}"))?;
        for skipped in catalog.skipped() {
            tracing::info!(entry = skipped, "catalog entry of a pipeline that is not served");
        }
        for key in catalog.unknown_keys() {
            tracing::warn!(key, "the catalog has a key that means nothing; is it misspelt?");
        }
        Self::pick(&catalog, config, usual)
    }

    fn pick(catalog: &Catalog, config: &WorkerConfig, usual: DType) -> anyhow::Result<Self> {
        let filter = &config.lanes.0;
        if let Some(unknown) = filter.iter().find(|lane| catalog.of_lane(lane).is_none()) {
            let known: Vec<String> = catalog.models().iter().map(|model| model.lane.to_string()).collect();
            bail!("DARKROOM_LANES names {unknown}, expected some of the catalog's: {}", known.join(", "));
        }
        let wanted = |model: &&Model| filter.is_empty() || filter.contains(&model.lane);
        let models =
            catalog.models().iter().filter(wanted).map(|model| ServedModel::new(model, config, usual));
        Ok(Self { models: models.collect::<anyhow::Result<_>>()?, loras: catalog.loras().to_vec() })
    }

    #[cfg(test)]
    pub(crate) fn of_models(models: Vec<ServedModel>) -> Self {
        Self { models, loras: vec![] }
    }

    /// The LoRA of this id.
    pub(crate) fn lora(&self, id: &str) -> Option<&Lora> {
        self.loras.iter().find(|lora| lora.id == id)
    }

    /// Every lane.
    pub(crate) fn lanes(&self) -> Vec<Lane> {
        self.models.iter().map(|model| model.lane.clone()).collect()
    }

    /// Every model.
    pub(crate) fn models(&self) -> &[ServedModel] {
        &self.models
    }

    /// The model of a lane.
    pub(crate) fn of(&self, lane: &Lane) -> Option<&ServedModel> {
        self.models.iter().find(|model| model.lane == *lane)
    }
}

impl ServedModel {
    fn new(model: &Model, config: &WorkerConfig, usual: DType) -> anyhow::Result<Self> {
        let lane = &model.lane;
        let dtype = model.dtype.as_deref().map(str::parse).transpose();
        let dtype: Option<DType> = dtype.with_context(|| format!("the catalog's dtype of {lane}"))?;
        let precision = match dtype.unwrap_or(usual) {
            DType::F32 => Precision::Full,
            DType::F16 | DType::BF16 => Precision::Half,
        };
        let weights = match &model.source {
            Source::Fake { .. } if !config.allow_fake => bail!(
                "the catalog's source of {lane} is builtin:fake, which runs no model: \
                 set DARKROOM_ALLOW_FAKE to true to allow it, or name a folder"
            ),
            Source::Fake { step } => Weights::Fake(*step),
            source => Weights::Files(Box::new(Wanted {
                source: source.clone(),
                components: model.components.clone(),
                scheduler: model.scheduler.clone(),
                safety_checker: model.safety_checker.clone(),
                precision,
            })),
        };
        Ok(Self {
            lane: lane.clone(),
            warm: model.warm,
            weights,
            dtype,
            deep_cache: model.deep_cache,
            memory_bytes: model.memory_bytes,
            timeout: model.timeout,
        })
    }

    /// Whether it must not be served without a safety checker.
    pub(crate) fn needs_safety_checker(&self) -> bool {
        match &self.weights {
            Weights::Fake(_) => false,
            Weights::Files(wanted) => {
                matches!(wanted.safety_checker, SafetyChecker::Required | SafetyChecker::From(_))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const CATALOG: &str = r#"[
        {"pipeline": "text-to-image", "model_id": "a/fake", "source": "builtin:fake?step_ms=5", "warm": true},
        {"pipeline": "text-to-image", "model_id": "a/real", "source": "real", "dtype": "f16", "deep_cache": 3},
        {"pipeline": "image-to-text", "model_id": "a/abs", "source": "/weights/abs"}
    ]"#;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        worker: WorkerConfig,
    }

    fn pick(arguments: &[&str]) -> anyhow::Result<Served> {
        let arguments = ["worker", "--catalog=x"].iter().chain(arguments);
        Served::pick(&Catalog::parse(CATALOG).unwrap(), &Only::parse_from(arguments).worker, DType::F32)
    }

    #[test]
    fn settings_of_the_catalog_are_taken_over() {
        let served = pick(&["--allow-fake=true"]).unwrap();
        let precisions: Vec<Option<Precision>> = served
            .models()
            .iter()
            .map(|model| match &model.weights {
                Weights::Fake(_) => None,
                Weights::Files(wanted) => Some(wanted.precision),
            })
            .collect();
        assert_eq!(precisions, [None, Some(Precision::Half), Some(Precision::Full)]);
        assert_eq!(served.models()[0].weights, Weights::Fake(Duration::from_millis(5)));
        assert_eq!(served.models()[1].dtype, Some(DType::F16));
        let deep_cache = served.models().iter().map(|model| model.deep_cache.map(NonZeroU32::get));
        assert_eq!(deep_cache.collect::<Vec<_>>(), [None, Some(3), None]);
    }

    #[test]
    fn fake_is_refused_unless_allowed() {
        let refusal = pick(&[]).unwrap_err().to_string();
        assert!(refusal.contains("DARKROOM_ALLOW_FAKE") && refusal.contains("a/fake"), "{refusal}");
        assert!(pick(&["--lanes=text-to-image:a/real"]).is_ok(), "a lane that is not served needs no leave");
    }

    #[test]
    fn lanes_of_the_filter_must_be_in_the_catalog() {
        let served = pick(&["--lanes=image-to-text:a/abs"]).unwrap();
        assert_eq!(served.lanes(), ["image-to-text:a/abs".parse().unwrap()]);
        let refusal = pick(&["--lanes=image-to-text:a/real"]).unwrap_err().to_string();
        assert!(refusal.contains("DARKROOM_LANES") && refusal.contains("text-to-image:a/real"), "{refusal}");
    }
}
