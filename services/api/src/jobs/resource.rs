//! A job as the API shows it.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use darkroom_jobs::{
    BatchId, Event, Failure, ImageToText, InputImage, JobId, JobWebhook, Quality, Task, TextToImage, Warning,
};
use darkroom_store::{Artifact, Job, Progress};
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::queue::QueueView;
use crate::Links;
use crate::openapi::words;

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// `text-to-image` or `image-to-text`.
    #[schema(value_type = words::Pipeline)]
    pub pipeline: &'static str,
    /// Id of the model in the catalog.
    pub model: String,
    /// `queued`, `running`, `succeeded`, `failed`, `canceled` or `expired`; the last four are final.
    #[schema(value_type = words::JobState)]
    pub state: &'static str,
    /// Grows with state, artifacts and warnings, not with progress.
    pub version: i32,
    /// `interactive`, `normal` or `background`.
    #[schema(value_type = words::Priority)]
    pub priority: &'static str,
    /// The parameters it runs with, every default filled in.
    pub input: InputView,
    /// Results so far, by index.
    pub artifacts: Vec<ArtifactView>,
    /// What the job's owner should know although it does not fail for it; empty when there is nothing.
    pub warnings: Vec<WarningView>,
    /// Why it failed.
    pub error: Option<FailureView>,
    /// Where it stands in the queue; null unless the job is queued.
    pub queue: Option<QueueView>,
    /// Why a queued job cannot start at the moment, whatever its place: `lane_paused`, `no_worker_for_model`,
    /// `model_loading`, `waiting_for_retry` or `tenant_limit`; null while it just waits for its turn.
    #[schema(example = "no_worker_for_model")]
    pub blocked_reason: Option<&'static str>,
    /// How far the running attempt is; null unless the job runs.
    pub progress: Option<ProgressView>,
    /// Attempts that were started.
    pub attempts: i32,
    /// What it costs if it succeeds.
    pub price: Money,
    /// What it did cost; set when it succeeds.
    pub cost: Option<Money>,
    /// Milliseconds of each stage of the latest attempt.
    pub timings: Option<BTreeMap<String, f64>>,
    /// The caller's own labels.
    pub metadata: BTreeMap<String, String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// When it expires unless it is final by then.
    pub deadline: Timestamp,
    /// When it, its input and its results may be deleted.
    pub expires_at: Timestamp,
    /// The failed job that an operator runs again by this one.
    pub replay_of: Option<Uuid>,
    /// The job by which an operator runs this failed one again.
    pub replayed_by: Option<Uuid>,
    /// The batch it was submitted with.
    pub batch_id: Option<Uuid>,
    /// The webhook that it was submitted with.
    pub webhook: Option<JobWebhookView>,
    /// Where to look and what to do.
    pub links: JobLinks,
}

/// A job's own webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = JobWebhook)]
pub struct JobWebhookView {
    /// Where messages are posted to.
    #[schema(example = "https://shop.example/hooks/darkroom?order=7")]
    pub url: String,
    /// What is told. Replicate's `output` and `logs` are `job.output` and `job.progress`.
    #[schema(example = json!(["job.succeeded", "job.failed"]))]
    pub events: Vec<&'static str>,
}

/// Parameters of a job.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Input)]
#[serde(untagged)]
pub enum InputView {
    /// Of a text-to-image job.
    TextToImage(TextToImageView),
    /// Of an image-to-text job.
    ImageToText(ImageToTextView),
}

/// Parameters of a text-to-image job.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = TextToImageInput)]
pub struct TextToImageView {
    /// What the picture should show.
    pub prompt: String,
    /// What it should not show.
    pub negative_prompt: Option<String>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Denoising steps.
    pub steps: u32,
    /// Weight of classifier-free guidance.
    pub guidance_scale: f64,
    /// Seed of picture 0; picture `i` uses `seed + i`.
    pub seed: u64,
    /// How many pictures.
    pub images: u32,
    /// Scheduler used instead of the model's own.
    #[schema(value_type = Option<words::Scheduler>)]
    pub scheduler: Option<&'static str>,
    /// Strengths of the LoRAs that are merged into the model, by id.
    pub loras: BTreeMap<String, f64>,
    /// Whether pictures go through the safety checker.
    pub safety_check: bool,
    /// `png`, `jpeg` or `webp`.
    #[schema(value_type = words::OutputFormat)]
    pub output_format: &'static str,
    /// Quality of a JPEG or WebP; null for PNG, which is lossless.
    pub output_quality: Option<u8>,
    /// Whether the parameters are written into the files.
    pub embed_parameters: bool,
}

/// Parameters of an image-to-text job.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ImageToTextInput)]
pub struct ImageToTextView {
    /// Words the caption starts with.
    pub prompt: String,
    /// The picture that was sent; null in a dry run that would fetch it.
    pub image: Option<ImageView>,
}

/// A picture that was sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = InputImage)]
pub struct ImageView {
    /// Media type by content.
    #[schema(example = "image/png")]
    pub content_type: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A stored result.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Artifact)]
pub struct ArtifactView {
    /// Its id.
    pub id: Uuid,
    /// Which result of the job, from 0.
    pub index: u32,
    /// Where to fetch it. Needs no key: whoever has the URL can read the result.
    pub url: String,
    /// Media type.
    #[schema(example = "image/png")]
    pub content_type: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
    /// Width in pixels; null for a caption.
    pub width: Option<u32>,
    /// Height in pixels; null for a caption.
    pub height: Option<u32>,
    /// Seed of a picture.
    pub seed: Option<u64>,
    /// Whether the safety checker flagged it.
    pub nsfw: bool,
    /// The caption.
    pub text: Option<String>,
}

/// Something that a job does not fail for.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Warning)]
pub struct WarningView {
    /// Which kind: `prompt_truncated`. More will follow.
    #[schema(example = "prompt_truncated")]
    pub code: String,
    /// What it says, for people.
    #[schema(example = "text_encoder reads at most 77 tokens: the end of a prompt was left out")]
    pub message: String,
    /// What it is about. Of `prompt_truncated`: `encoder`, the text encoder; `dropped`, the text left out; `limit`,
    /// the most tokens it reads.
    #[schema(value_type = Object, example = json!({"encoder": "text_encoder", "dropped": "on a mat", "limit": 77}))]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// Why a job failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Failure)]
pub struct FailureView {
    /// `invalid_input`, `unsupported`, `out_of_memory`, `infrastructure`, `timeout`, `lost` or `poison`.
    #[schema(example = "invalid_input")]
    pub code: &'static str,
    /// What failed.
    pub message: String,
}

/// How far an attempt is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Progress)]
pub struct ProgressView {
    /// Picture being made, from 0.
    pub image: u32,
    /// Pictures in the job.
    pub images: u32,
    /// Steps done on it.
    pub step: u32,
    /// Steps it takes.
    pub steps: u32,
}

/// An amount of money.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Money {
    /// A decimal number, as text so that nothing is lost.
    #[schema(example = "0.000312500094")]
    pub amount: String,
    /// Currency code.
    #[schema(example = "USD")]
    pub currency: String,
}

/// A job's own URLs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobLinks {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// Where to POST to cancel it.
    pub cancel: String,
}

/// A moment, written as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
pub struct Timestamp(pub DateTime<Utc>);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl JobView {
    /// The resource for `job`, without where it stands in the queue.
    pub fn new(job: Job, links: &Links) -> Self {
        let money = |amount: Decimal| Money { amount: amount.to_string(), currency: job.currency.clone() };
        Self {
            id: job.id.as_uuid(),
            pipeline: job.lane.pipeline().as_str(),
            model: job.lane.model().to_owned(),
            state: job.state.as_str(),
            version: job.version,
            priority: job.priority.as_str(),
            input: InputView::from(job.task),
            artifacts: job.artifacts.into_iter().map(|artifact| ArtifactView::new(artifact, links)).collect(),
            warnings: job.warnings.into_iter().map(WarningView::from).collect(),
            error: job.failure.map(FailureView::from),
            progress: job.progress.map(ProgressView::from),
            queue: None,
            blocked_reason: None,
            attempts: job.attempts,
            price: money(job.price),
            cost: job.cost.map(money),
            timings: job.timings,
            metadata: job.metadata,
            created_at: Timestamp(job.created_at),
            started_at: job.started_at.map(Timestamp),
            finished_at: job.finished_at.map(Timestamp),
            deadline: Timestamp(job.deadline),
            expires_at: Timestamp(job.expires_at),
            replay_of: job.replay_of.map(JobId::as_uuid),
            replayed_by: job.replayed_by.map(JobId::as_uuid),
            batch_id: job.batch.map(BatchId::as_uuid),
            webhook: job.webhook.map(JobWebhookView::from),
            links: JobLinks::new(job.id, links),
        }
    }
}

impl From<JobWebhook> for JobWebhookView {
    fn from(webhook: JobWebhook) -> Self {
        Self { url: webhook.url, events: webhook.events.into_iter().map(Event::as_str).collect() }
    }
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> Self {
        Self { code: failure.class.as_str(), message: failure.message }
    }
}

impl From<Progress> for ProgressView {
    fn from(progress: Progress) -> Self {
        let Progress { image, images, step, steps } = progress;
        Self { image, images, step, steps }
    }
}

impl JobLinks {
    fn new(id: JobId, links: &Links) -> Self {
        Self { this: links.job(id), cancel: links.cancel(id) }
    }
}

impl ArtifactView {
    fn new(artifact: Artifact, links: &Links) -> Self {
        Self {
            id: artifact.id.as_uuid(),
            index: artifact.index,
            url: links.result(artifact.id, &artifact.content_type),
            content_type: artifact.content_type,
            size_bytes: artifact.size_bytes,
            sha256: hex::encode(artifact.sha256),
            width: artifact.width,
            height: artifact.height,
            seed: artifact.seed,
            nsfw: artifact.nsfw,
            text: artifact.text,
        }
    }
}

impl From<Task> for InputView {
    fn from(task: Task) -> Self {
        match task {
            Task::TextToImage(task) => Self::TextToImage(task.into()),
            Task::ImageToText(ImageToText { prompt, image }) => {
                Self::ImageToText(ImageToTextView { prompt, image: Some(image.into()) })
            }
        }
    }
}

impl From<TextToImage> for TextToImageView {
    fn from(task: TextToImage) -> Self {
        Self {
            prompt: task.prompt.into(),
            negative_prompt: task.negative_prompt,
            width: task.size.width(),
            height: task.size.height(),
            steps: task.steps,
            guidance_scale: task.guidance_scale,
            seed: task.seed,
            images: task.images,
            scheduler: task.scheduler.map(darkroom_jobs::SchedulerKind::as_str),
            loras: task.loras.into(),
            safety_check: task.safety_check,
            output_format: task.output.format.name().as_str(),
            output_quality: task.output.format.quality().map(Quality::get),
            embed_parameters: task.output.embed_parameters,
        }
    }
}

impl From<Warning> for WarningView {
    fn from(warning: Warning) -> Self {
        let Warning { code, message, detail } = warning;
        Self { code, message, detail }
    }
}

impl From<InputImage> for ImageView {
    /// Without the object's key, which is no caller's business.
    fn from(image: InputImage) -> Self {
        let InputImage { key: _, content_type, size_bytes, sha256, width, height } = image;
        Self { content_type, size_bytes, sha256, width, height }
    }
}
