//! What can be asked for.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::JobWebhook;

/// A picture from words. Everything but the prompt has a default in the catalog.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TextToImageRequest {
    /// Model to use; the pipeline's default when absent.
    #[serde(skip)]
    pub model: Option<String>,
    /// Options of the job itself.
    #[serde(skip)]
    pub options: JobOptions,
    /// What the picture should show.
    pub prompt: String,
    /// What it should not show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// Width in pixels, a multiple of 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels, a multiple of 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Denoising steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Weight of classifier-free guidance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f64>,
    /// Seed of picture 0; picture `i` uses `seed + i`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How many pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u32>,
    /// Scheduler to use instead of the model's own: `ddim`, `pndm`, `euler`, `euler_ancestral`, `dpmpp_2m`,
    /// `dpmpp_2m_karras`, `lcm`, `unipc` or `flow_match_euler`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// Strengths of the LoRAs to merge into the model, by id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub loras: BTreeMap<String, f64>,
    /// Whether pictures go through the safety checker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_check: Option<bool>,
    /// `png`, `jpeg` or `webp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_format: Option<String>,
    /// Quality of a JPEG or WebP, 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_quality: Option<u8>,
    /// Whether prompt, seed and settings, and that the picture was generated, are written into the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embed_parameters: Option<bool>,
}

impl TextToImageRequest {
    /// A request with every default.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }

    /// The JSON document of its submission.
    pub fn to_document(&self) -> Value {
        json!(self.document())
    }

    pub(crate) fn document(&self) -> Document<'_, Self> {
        Document {
            pipeline: "text-to-image",
            model: self.model.as_deref(),
            options: &self.options,
            input: self,
        }
    }
}

/// Words from a picture.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CaptionRequest {
    /// Model to use; the pipeline's default when absent.
    #[serde(skip)]
    pub model: Option<String>,
    /// Options of the job itself.
    #[serde(skip)]
    pub options: JobOptions,
    /// Words the caption starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A picture that was sent before, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_file: Option<Uuid>,
    /// Where the service fetches the picture, or the picture itself as a data URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
}

impl CaptionRequest {
    /// The JSON document of its submission.
    pub fn to_document(&self) -> Value {
        json!(self.document())
    }

    pub(crate) fn document(&self) -> Document<'_, Self> {
        Document {
            pipeline: "image-to-text",
            model: self.model.as_deref(),
            options: &self.options,
            input: self,
        }
    }
}

/// Options of a job that do not change its result.
#[derive(Debug, Clone, Default, Serialize)]
pub struct JobOptions {
    /// Key under which a repeated submission finds the first one's job; made up when absent.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
    /// `interactive`, `normal` or `background`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Seconds after which nobody wants the result any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    /// Seconds for which job and results are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u64>,
    /// The caller's own labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Who is told what becomes of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<JobWebhook>,
}

/// The JSON document of a submission.
#[derive(Serialize)]
pub(crate) struct Document<'a, I> {
    pipeline: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(flatten)]
    options: &'a JobOptions,
    input: &'a I,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_is_sent() {
        let mut request = TextToImageRequest::new("a red circle");
        request.seed = Some(7);
        request.options.priority = Some("interactive".into());
        assert_eq!(
            request.to_document(),
            json!({"pipeline": "text-to-image", "priority": "interactive",
                               "input": {"prompt": "a red circle", "seed": 7}})
        );
        assert_eq!(
            CaptionRequest::default().to_document(),
            json!({"pipeline": "image-to-text", "input": {}})
        );
    }
}
