//! One entry of the catalog's file.

use std::collections::BTreeMap;
use std::mem;
use std::num::NonZeroU32;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::source::{self, ComponentEntry, SafetyCheckerEntry, components};
use super::{Catalog, CatalogError, Defaults, Limits, Lora, Model, SafetyChecker, Source};
use crate::{Lane, Pipeline, Price, RetryPolicy};

/// With more steps that share deeper features a picture is not what the prompt says.
const MAX_DEEP_CACHE: u32 = 10;

/// An entry that is a model.
#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) pipeline: String,
    pub(super) model_id: String,
    #[serde(default)]
    warm: bool,
    #[serde(default)]
    price_per_unit: Option<Value>,
    #[serde(default)]
    pixels_per_unit: Option<Value>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    default: bool,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    revision: Option<String>,
    #[serde(default)]
    components: BTreeMap<String, ComponentEntry>,
    #[serde(default)]
    scheduler: Map<String, Value>,
    #[serde(default)]
    safety_checker: Option<SafetyCheckerEntry>,
    #[serde(default)]
    dtype: Option<String>,
    #[serde(default)]
    deep_cache: Option<u32>,
    #[serde(default)]
    memory_bytes: Option<u64>,
    /// Seconds.
    #[serde(default)]
    timeout: Option<u64>,
    #[serde(default)]
    max_attempts: Option<u16>,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    qualities: BTreeMap<String, u32>,
}

impl Entry {
    pub(super) fn check(mut self, index: usize, pipeline: Pipeline) -> Result<Model, CatalogError> {
        let bad = |key, problem: &str| CatalogError::Value { index, key, problem: problem.to_owned() };
        let (price, deep_cache) = (self.price(index)?, self.deep_cache(index, pipeline)?);
        let (source, components, safety_checker) = self.weights(index)?;
        let lane =
            Lane::new(pipeline, self.model_id).map_err(|source| CatalogError::Lane { index, source })?;
        let timeout = self.timeout.map_or(Catalog::DEFAULT_TIMEOUT, Duration::from_secs);
        if timeout.is_zero() {
            return Err(bad("timeout", "must be at least 1 second"));
        }
        let max_attempts = self.max_attempts.unwrap_or(RetryPolicy::DEFAULT_MAX_ATTEMPTS);
        if !(1..=100).contains(&max_attempts) {
            return Err(bad("max_attempts", "must be 1 to 100"));
        }
        if let Some(dtype) = &self.dtype
            && !["f32", "f16", "bf16"].contains(&dtype.as_str())
        {
            return Err(bad("dtype", "must be one of f32, f16, bf16"));
        }
        self.limits.check().map_err(|problem| bad("limits", problem))?;
        self.defaults.check(&self.limits).map_err(|problem| bad("defaults", problem))?;
        if !self.qualities.values().all(|steps| self.limits.allows_steps(*steps)) {
            return Err(bad("qualities", "must be numbers of steps that the entry's limits allow"));
        }
        Ok(Model {
            lane,
            aliases: self.aliases,
            default: self.default,
            warm: self.warm,
            source,
            components,
            scheduler: self.scheduler,
            safety_checker,
            dtype: self.dtype,
            deep_cache,
            memory_bytes: self.memory_bytes,
            price,
            timeout,
            retry: RetryPolicy { max_attempts },
            defaults: self.defaults,
            limits: self.limits,
            qualities: self.qualities,
        })
    }

    /// Where the weights come from, those of components, and the safety checker.
    fn weights(
        &mut self,
        index: usize,
    ) -> Result<(Source, BTreeMap<String, Source>, SafetyChecker), CatalogError> {
        let bad = |key, problem: String| CatalogError::Value { index, key, problem };
        let source = Source::of_entry(self.source.as_deref(), self.revision.take(), &self.model_id)
            .map_err(|(key, problem)| bad(key, problem.to_owned()))?;
        if source.is_file() {
            return Err(bad("source", "must name a folder, not a file".to_owned()));
        }
        let components =
            components(mem::take(&mut self.components)).map_err(|problem| bad("components", problem))?;
        let safety_checker = self.safety_checker.take().map(SafetyCheckerEntry::check).transpose();
        let safety_checker =
            safety_checker.map_err(|problem| bad("safety_checker", problem.to_owned()))?.unwrap_or_default();
        Ok((source, components, safety_checker))
    }

    fn deep_cache(&self, index: usize, pipeline: Pipeline) -> Result<Option<NonZeroU32>, CatalogError> {
        let bad = |problem: String| CatalogError::Value { index, key: "deep_cache", problem };
        match self.deep_cache {
            None => Ok(None),
            Some(_) if pipeline != Pipeline::TextToImage => {
                Err(bad(format!("is for {} models", Pipeline::TextToImage)))
            }
            Some(steps) => NonZeroU32::new(steps)
                .filter(|steps| steps.get() <= MAX_DEEP_CACHE)
                .map(Some)
                .ok_or_else(|| bad(format!("must be 1 to {MAX_DEEP_CACHE} steps"))),
        }
    }

    fn price(&self, index: usize) -> Result<Option<Price>, CatalogError> {
        let bad = |key, problem: &str| CatalogError::Value { index, key, problem: problem.to_owned() };
        let Some(per_unit) = &self.price_per_unit else { return Ok(None) };
        let per_unit = decimal(per_unit)
            .filter(|price| !price.is_sign_negative())
            .ok_or_else(|| bad("price_per_unit", "must be a number of at least 0"))?;
        let pixels_per_unit = match &self.pixels_per_unit {
            None => 1,
            Some(value) => decimal(value)
                .filter(|pixels| pixels.fract().is_zero() && *pixels >= Decimal::ONE)
                .and_then(|pixels| u64::try_from(pixels).ok())
                .ok_or_else(|| bad("pixels_per_unit", "must be a positive integer"))?,
        };
        let currency = self.currency.clone().unwrap_or_else(|| "USD".to_owned());
        Ok(Some(Price { per_unit, pixels_per_unit, currency }))
    }
}

/// An entry that is a LoRA.
#[derive(Deserialize)]
pub(super) struct LoraEntry {
    model_id: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    revision: Option<String>,
    #[serde(default)]
    file: Option<String>,
}

impl LoraEntry {
    pub(super) fn check(self, index: usize) -> Result<Lora, CatalogError> {
        let bad = |key, problem: &str| CatalogError::Value { index, key, problem: problem.to_owned() };
        // What names a model can name a LoRA.
        let named = Lane::new(Pipeline::TextToImage, self.model_id);
        let named = named.map_err(|source| CatalogError::Lane { index, source })?;
        let source = Source::of_entry(self.source.as_deref(), self.revision, named.model())
            .map_err(|(key, problem)| bad(key, problem))?;
        if matches!(source, Source::Fake { .. }) {
            return Err(bad("source", "must not be a builtin one for a LoRA"));
        }
        if let Some(file) = &self.file
            && (!file.ends_with(".safetensors") || !source::is_path(file))
        {
            return Err(bad("file", "must be the path of a `.safetensors` file inside the source"));
        }
        if self.file.is_some() && source.is_file() {
            return Err(bad("file", "must be absent where `source` names a file"));
        }
        Ok(Lora { id: named.model().to_owned(), source, file: self.file })
    }
}

/// A JSON number, or a string that holds one, without a detour over binary floating point.
fn decimal(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()
}
