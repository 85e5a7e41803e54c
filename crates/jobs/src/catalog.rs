//! The catalog: which models this deployment serves, at which price and within which limits.
//!
//! The file is Livepeer's `aiModels.json`, read as it is, with optional keys of our own. Unknown keys and
//! pipelines we do not serve are ignored, so that one file can configure both; both are listed, for the log.

mod entry;
mod keys;
mod source;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::entry::{Entry, LoraEntry};
pub use self::source::{Lora, Repository, SafetyChecker, Source, is_commit};
use crate::{Lane, LaneError, Pipeline, Price, RetryPolicy};

/// The pipeline of entries that are LoRAs.
const LORA: &str = "lora";

/// A parsed catalog. Never empty; no two entries of a pipeline share an id or alias.
#[derive(Debug, Clone)]
pub struct Catalog {
    models: Vec<Model>,
    loras: Vec<Lora>,
    skipped: Vec<String>,
    unknown_keys: Vec<String>,
}

/// One model this deployment serves.
#[derive(Debug, Clone)]
pub struct Model {
    /// Where its jobs wait; names pipeline and model id.
    pub lane: Lane,
    /// Other names that callers may use for it.
    pub aliases: Vec<String>,
    /// Whether it serves requests of its pipeline that name no model.
    pub default: bool,
    /// Loaded when a worker starts and never evicted.
    pub warm: bool,
    /// Where its weights come from.
    pub source: Source,
    /// Components that come from elsewhere, by name.
    pub components: BTreeMap<String, Source>,
    /// Fields in place of those of its `scheduler_config.json`.
    pub scheduler: Map<String, Value>,
    /// Whether it has a safety checker.
    pub safety_checker: SafetyChecker,
    /// Precision to compute in (`f32`, `f16`, `bf16`); the device's own choice when absent.
    pub dtype: Option<String>,
    /// How many steps of a picture share what the deeper layers of its U-Net make; none do when absent.
    pub deep_cache: Option<NonZeroU32>,
    /// Device memory it needs; measured from the weights when absent.
    pub memory_bytes: Option<u64>,
    /// What it costs; free when absent.
    pub price: Option<Price>,
    /// Time limit of one attempt.
    pub timeout: Duration,
    /// How often a job is tried.
    pub retry: RetryPolicy,
    /// Values for parameters that a request leaves out.
    pub defaults: Defaults,
    /// Bounds for parameters.
    pub limits: Limits,
    /// Denoising steps by the word for a quality, for callers who name one.
    pub qualities: BTreeMap<String, u32>,
}

/// Values for parameters that a request leaves out.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Denoising steps.
    pub steps: u32,
    /// Weight of classifier-free guidance.
    pub guidance_scale: f64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { steps: 30, guidance_scale: 7.5, width: 512, height: 512 }
    }
}

/// Bounds for parameters.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Largest width and height in pixels.
    pub max_side: u32,
    /// Most pictures in one job.
    pub max_images: u32,
    /// Most denoising steps.
    pub max_steps: u32,
    /// The only numbers of steps that do, for models that were distilled for them; empty when all up to `max_steps` do.
    pub steps: Vec<u32>,
}

impl Limits {
    /// No limit may allow more steps: schedulers are defined on 1,000 training steps, and fewer are drawn.
    pub const STEPS: u32 = 150;
    /// No limit may allow larger sides: `darkroom-models` makes none.
    pub const SIDE: u32 = 4_096;
    /// No limit may allow more pictures.
    pub const IMAGES: u32 = 100;
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_side: 2_048, max_images: 10, max_steps: Self::STEPS, steps: Vec::new() }
    }
}

/// Why a catalog cannot be used. Entries are counted from 0.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not JSON.
    #[error("the catalog is no JSON")]
    Json(#[source] serde_json::Error),
    /// Not an array.
    #[error("the catalog is no JSON array of models")]
    NoArray,
    /// A key of an entry is missing or has the wrong type.
    #[error("catalog entry {index}")]
    Entry {
        /// Which entry.
        index: usize,
        /// Which key, and what was expected.
        source: serde_path_to_error::Error<serde_json::Error>,
    },
    /// A key of an entry has a value that is not allowed.
    #[error("catalog entry {index}: `{key}` {problem}")]
    Value {
        /// Which entry.
        index: usize,
        /// Which key.
        key: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A model id that cannot name a lane.
    #[error("catalog entry {index}")]
    Lane {
        /// Which entry.
        index: usize,
        /// What is wrong with the id.
        source: LaneError,
    },
    /// Nothing to serve.
    #[error("the catalog has no text-to-image or image-to-text model")]
    Empty,
}

impl Catalog {
    /// Time limit of an attempt unless the entry has its own.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

    /// Parses the catalog file's text.
    ///
    /// # Errors
    /// Names the entry, the key and what is allowed.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        // In two steps, so that a syntax error is told as one.
        let document: Value = serde_json::from_str(text).map_err(CatalogError::Json)?;
        let Value::Array(entries) = document else { return Err(CatalogError::NoArray) };
        let mut catalog =
            Self { models: Vec::new(), loras: Vec::new(), skipped: Vec::new(), unknown_keys: Vec::new() };
        for (index, value) in entries.into_iter().enumerate() {
            catalog.read(index, value)?;
        }
        if catalog.models.is_empty() { Err(CatalogError::Empty) } else { Ok(catalog) }
    }

    fn read(&mut self, index: usize, value: Value) -> Result<(), CatalogError> {
        let wrong = |source| CatalogError::Entry { index, source };
        if value.get("pipeline").is_some_and(|pipeline| pipeline == LORA) {
            self.unknown_keys.extend(keys::unknown(&value, &keys::LORA));
            let entry: LoraEntry = serde_path_to_error::deserialize(value).map_err(wrong)?;
            return self.add_lora(index, entry.check(index)?);
        }
        let unknown = keys::unknown(&value, &keys::MODEL);
        let entry: Entry = serde_path_to_error::deserialize(value).map_err(wrong)?;
        let Ok(pipeline) = entry.pipeline.parse() else {
            self.skipped.push(format!("{}:{}", entry.pipeline, entry.model_id));
            return Ok(());
        };
        self.unknown_keys.extend(unknown);
        self.add(index, entry.check(index, pipeline)?)
    }

    fn add_lora(&mut self, index: usize, lora: Lora) -> Result<(), CatalogError> {
        if self.loras.iter().any(|other| other.id == lora.id) {
            let problem = format!("`{}` names another LoRA already", lora.id);
            return Err(CatalogError::Value { index, key: "model_id", problem });
        }
        self.loras.push(lora);
        Ok(())
    }

    fn add(&mut self, index: usize, model: Model) -> Result<(), CatalogError> {
        let pipeline = model.lane.pipeline();
        for name in std::iter::once(model.lane.model()).chain(model.aliases.iter().map(String::as_str)) {
            if self.named(pipeline, name).is_some() {
                let problem = format!("`{name}` names another {pipeline} model already");
                return Err(CatalogError::Value { index, key: "model_id", problem });
            }
        }
        if model.default && self.of(pipeline).any(|other| other.default) {
            let problem = format!("is set on another {pipeline} model already");
            return Err(CatalogError::Value { index, key: "default", problem });
        }
        self.models.push(model);
        Ok(())
    }

    /// Every model, in the order of the file.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The LoRAs that a request may name, in the order of the file.
    pub fn loras(&self) -> &[Lora] {
        &self.loras
    }

    /// Keys that neither Livepeer nor this program knows, with their entry, for a line in the log: they have
    /// no effect, and may be misspelt.
    pub fn unknown_keys(&self) -> &[String] {
        &self.unknown_keys
    }

    /// Entries of pipelines that are not served, as `pipeline:model`, for a line in the log.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The models of one pipeline.
    pub fn of(&self, pipeline: Pipeline) -> impl Iterator<Item = &Model> {
        self.models.iter().filter(move |model| model.lane.pipeline() == pipeline)
    }

    /// The model with this id or alias.
    pub fn named(&self, pipeline: Pipeline, name: &str) -> Option<&Model> {
        self.of(pipeline).find(|model| model.lane.model() == name || model.aliases.iter().any(|a| a == name))
    }

    /// The model that serves requests which name none: the one marked so, else the first of the pipeline.
    pub fn default_of(&self, pipeline: Pipeline) -> Option<&Model> {
        self.of(pipeline).find(|model| model.default).or_else(|| self.of(pipeline).next())
    }

    /// The model of a lane.
    pub fn of_lane(&self, lane: &Lane) -> Option<&Model> {
        self.models.iter().find(|model| model.lane == *lane)
    }
}

impl Limits {
    fn check(&self) -> Result<(), &'static str> {
        let within = (8..=Self::SIDE).contains(&self.max_side)
            && (1..=Self::IMAGES).contains(&self.max_images)
            && (1..=Self::STEPS).contains(&self.max_steps)
            && self.steps.iter().all(|steps| (1..=self.max_steps).contains(steps));
        let expected =
            "must have max_side 8 to 4096, max_images 1 to 100, max_steps 1 to 150, steps up to max_steps";
        within.then_some(()).ok_or(expected)
    }

    /// Whether a picture may be made in this many denoising steps.
    pub fn allows_steps(&self, steps: u32) -> bool {
        (1..=self.max_steps).contains(&steps) && (self.steps.is_empty() || self.steps.contains(&steps))
    }
}

impl Defaults {
    fn check(&self, limits: &Limits) -> Result<(), &'static str> {
        let side = |side: u32| side > 0 && side <= limits.max_side && side.is_multiple_of(8);
        let within = side(self.width)
            && side(self.height)
            && limits.allows_steps(self.steps)
            && (0.0..=100.0).contains(&self.guidance_scale);
        within.then_some(()).ok_or("must lie within the entry's limits, with sides that divide by 8")
    }
}

#[cfg(test)]
mod tests;
