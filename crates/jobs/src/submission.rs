//! Submissions: a caller's JSON document checked into a [`Task`], with every mistake found in one pass.

mod picture;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::fields::{Fields, shortened};
use crate::{
    Catalog, ImageSize, ImageToText, InputImage, JobWebhook, Lane, Limits, Model, Pipeline, Priority, Prompt,
    SchedulerKind, Task, TextToImage,
};

/// The most metadata entries a job may carry.
pub const MAX_METADATA_ENTRIES: usize = 16;
/// The most characters of a metadata key.
pub const MAX_METADATA_KEY_CHARS: usize = 64;
/// The most characters of a metadata value.
pub const MAX_METADATA_VALUE_CHARS: usize = 512;
/// Largest seed of any picture: larger integers lose precision in JSON readers that use doubles.
const MAX_SEED: u64 = (1 << 53) - 1;
const DAY: u64 = 24 * 60 * 60;
const MAX_GUIDANCE: f64 = 100.0;

/// One field that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901) into the request's document.
    pub pointer: String,
    /// Which rule it breaks, as a stable word.
    pub code: &'static str,
    /// What is allowed.
    pub detail: String,
}

/// Why a document is no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// Every field error that was found; never empty.
    Fields(Vec<FieldError>),
    /// The catalog has no such model.
    UnknownModel {
        /// The pipeline asked for.
        pipeline: Pipeline,
        /// The name given.
        model: String,
        /// The names that would have done.
        known: Vec<String>,
    },
}

/// A job that may be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Where it waits.
    pub lane: Lane,
    /// What a worker runs.
    pub task: Task,
    /// Everything about the job that does not change its result.
    pub options: JobOptions,
}

/// Everything about a job that does not change its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOptions {
    /// Priority class.
    pub priority: Priority,
    /// Time from submission after which nobody wants the result any more.
    pub deadline: Option<Duration>,
    /// Time from submission for which the job, its inputs and results are kept.
    pub retention: Duration,
    /// The caller's own labels.
    pub metadata: BTreeMap<String, String>,
    /// Where its end is told besides its owner's webhooks. The URL is as the caller sent it.
    pub webhook: Option<JobWebhook>,
}

impl JobOptions {
    /// How long jobs, inputs and results are kept unless the caller asks for less.
    pub const MAX_RETENTION: Duration = Duration::from_secs(30 * DAY);
    const MIN_RETENTION_S: u64 = 60;
}

/// Checks a document of the form `{"pipeline", "model"?, "input": {…}, …}` against the catalog.
///
/// `image` is the picture that was sent along, if any; `random_seed` is drawn by the caller of this function
/// and serves when the document names no seed.
///
/// # Errors
/// [`Invalid`], with every field error in the order of the document's fields.
pub fn parse_submission(
    catalog: &Catalog,
    document: &Value,
    image: Option<InputImage>,
    random_seed: u32,
) -> Result<Submission, Invalid> {
    let mut errors = Vec::new();
    let mut fields = Fields::new(Some(document), "", &mut errors);
    let pipeline = fields.word::<Pipeline>("pipeline");
    fields.require("pipeline", "expected one of text-to-image, image-to-text");
    let model = fields.string("model");
    let input = fields.take("input");
    let mut options = options(&mut fields);
    let webhook = fields.take("webhook");
    fields.refuse_others();
    options.webhook = webhook.and_then(|value| webhook::webhook(value, &mut errors));
    let Some(pipeline) = pipeline else { return Err(Invalid::Fields(errors)) };
    let model = choose(catalog, pipeline, model)?;
    let task = match pipeline {
        Pipeline::TextToImage => {
            if image.is_some() {
                errors.push(unwanted_image());
            }
            let loras: Vec<&str> = catalog.loras().iter().map(|lora| lora.id.as_str()).collect();
            let offer = Offer { model, loras: &loras };
            text_to_image(&offer, input, random_seed, &mut errors).map(Task::TextToImage)
        }
        Pipeline::ImageToText => image_to_text(input, image, &mut errors).map(Task::ImageToText),
    };
    match task {
        Some(task) if errors.is_empty() => Ok(Submission { lane: model.lane.clone(), task, options }),
        _ => Err(Invalid::Fields(errors)),
    }
}

/// Reads a `webhook` that stands by itself, as in [`parse_submission`].
///
/// # Errors
/// Every field error, with pointers that begin with `/webhook`.
pub fn parse_webhook(value: &Value) -> Result<JobWebhook, Vec<FieldError>> {
    let mut errors = Vec::new();
    match webhook::webhook(value, &mut errors) {
        Some(webhook) if errors.is_empty() => Ok(webhook),
        _ => Err(errors),
    }
}

/// The catalog's model of that name, or the pipeline's default.
fn choose<'c>(catalog: &'c Catalog, pipeline: Pipeline, name: Option<&str>) -> Result<&'c Model, Invalid> {
    let found = match name {
        Some(name) => catalog.named(pipeline, name),
        None => catalog.default_of(pipeline),
    };
    found.ok_or_else(|| Invalid::UnknownModel {
        pipeline,
        model: shortened(name.unwrap_or_default()),
        known: catalog.of(pipeline).map(|model| model.lane.model().to_owned()).collect(),
    })
}

fn options(fields: &mut Fields<'_, '_>) -> JobOptions {
    let max_s = JobOptions::MAX_RETENTION.as_secs();
    let retention_s = fields.integer("retention_seconds", JobOptions::MIN_RETENTION_S..=max_s);
    JobOptions {
        priority: fields.word("priority").unwrap_or(Priority::Normal),
        deadline: fields.integer("deadline_seconds", 1..=max_s).map(Duration::from_secs),
        retention: retention_s.map_or(JobOptions::MAX_RETENTION, Duration::from_secs),
        metadata: metadata(fields),
        webhook: None,
    }
}

fn metadata(fields: &mut Fields<'_, '_>) -> BTreeMap<String, String> {
    let Some(value) = fields.take("metadata") else { return BTreeMap::new() };
    let usable = value.as_object().filter(|object| object.len() <= MAX_METADATA_ENTRIES).and_then(|object| {
        object.iter().map(|(key, value)| Some((key.clone(), metadata_value(key, value)?))).collect()
    });
    usable.unwrap_or_else(|| {
        let detail = format!(
            "expected an object of at most {MAX_METADATA_ENTRIES} strings of at most \
             {MAX_METADATA_VALUE_CHARS} characters, with keys of 1 to {MAX_METADATA_KEY_CHARS} characters"
        );
        fields.error("metadata", "metadata", detail);
        BTreeMap::new()
    })
}

fn metadata_value(key: &str, value: &Value) -> Option<String> {
    let value = value.as_str()?;
    is_metadata(key, value).then(|| value.to_owned())
}

/// Whether a job may carry this as an entry of its metadata.
pub fn is_metadata(key: &str, value: &str) -> bool {
    let key_fits = (1..=MAX_METADATA_KEY_CHARS).contains(&key.chars().count());
    let value_fits = value.chars().count() <= MAX_METADATA_VALUE_CHARS;
    key_fits && value_fits && !key.contains('\0') && !value.contains('\0')
}

/// What a request for pictures may ask for.
struct Offer<'a> {
    model: &'a Model,
    /// Ids of the LoRAs that may be named.
    loras: &'a [&'a str],
}

fn text_to_image(
    offer: &Offer<'_>,
    input: Option<&Value>,
    random_seed: u32,
    errors: &mut Vec<FieldError>,
) -> Option<TextToImage> {
    let model = offer.model;
    let Limits { max_images, max_steps, steps: offered_steps, max_side } = &model.limits;
    let mut fields = Fields::new(input, "/input", errors);
    let prompt = fields
        .string("prompt")
        .and_then(|text| Prompt::new(text).map_err(|error| fields.error("prompt", "text", error)).ok());
    fields.require("prompt", "expected a text that says what to draw");
    let negative_prompt = fields.text("negative_prompt");
    let width = side(&mut fields, "width", model.defaults.width, *max_side);
    let height = side(&mut fields, "height", model.defaults.height, *max_side);
    let steps = fields.small("steps", 1..=*max_steps).unwrap_or(model.defaults.steps);
    if !offered_steps.is_empty() && !offered_steps.contains(&steps) {
        let expected: Vec<String> = offered_steps.iter().map(u32::to_string).collect();
        fields.error("steps", "choice", format!("expected one of {}", expected.join(", ")));
    }
    let guidance_scale = fields.number("guidance_scale", 0.0..=MAX_GUIDANCE);
    let images = fields.small("images", 1..=*max_images).unwrap_or(1);
    let seed = fields.integer("seed", 0..=MAX_SEED + 1 - u64::from(images)).unwrap_or(random_seed.into());
    let scheduler = fields.word::<SchedulerKind>("scheduler");
    let loras = picture::loras(&mut fields, offer.loras);
    let safety_check = fields.boolean("safety_check").unwrap_or(true);
    let output = picture::output(&mut fields);
    fields.refuse_others();
    Some(TextToImage {
        prompt: prompt?,
        negative_prompt,
        size: ImageSize::new(width?, height?)?,
        steps,
        guidance_scale: guidance_scale.unwrap_or(model.defaults.guidance_scale),
        seed,
        images,
        scheduler,
        loras,
        safety_check,
        output,
    })
}

fn side(fields: &mut Fields<'_, '_>, name: &'static str, default: u32, max: u32) -> Option<u32> {
    let side = fields.small(name, ImageSize::MULTIPLE..=max).unwrap_or(default);
    if side.is_multiple_of(ImageSize::MULTIPLE) {
        return Some(side);
    }
    fields.error(name, "multiple", format!("expected a multiple of {}", ImageSize::MULTIPLE));
    None
}

fn image_to_text(
    input: Option<&Value>,
    image: Option<InputImage>,
    errors: &mut Vec<FieldError>,
) -> Option<ImageToText> {
    let mut fields = Fields::new(input, "/input", errors);
    let prompt = fields.text("prompt").unwrap_or_default();
    // Whoever calls this has looked it up or fetched it.
    fields.string("image_file");
    fields.string("image_url");
    if image.is_none() {
        let expected = "send the picture as the multipart part `image`, its URL as `image_url`, or its file's id as `image_file`";
        fields.error("image", "required", expected);
    }
    fields.refuse_others();
    Some(ImageToText { prompt, image: image? })
}

fn unwanted_image() -> FieldError {
    FieldError {
        pointer: "/input/image".to_owned(),
        code: "unknown",
        detail: "text-to-image takes no picture".to_owned(),
    }
}

#[cfg(test)]
mod tests;
