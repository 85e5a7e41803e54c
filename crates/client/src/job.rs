//! Jobs as the service shows them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::JobWebhook;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for a worker, or for the end of a backoff.
    Queued,
    /// A worker runs it.
    Running,
    /// Final: every artifact is stored.
    Succeeded,
    /// Final: see [`Job::error`].
    Failed,
    /// Final: taken back.
    Canceled,
    /// Final: its deadline passed first.
    Expired,
}

impl JobState {
    /// Whether the job stays in this state for ever.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// `text-to-image` or `image-to-text`.
    pub pipeline: String,
    /// Id of the model in the catalog.
    pub model: String,
    /// Where it stands.
    pub state: JobState,
    /// Grows with state, artifacts and warnings.
    pub version: i32,
    /// Priority class.
    pub priority: String,
    /// The parameters it runs with, every default filled in.
    pub input: Value,
    /// Results so far, by index.
    pub artifacts: Vec<Artifact>,
    /// What its owner should know although it does not fail for it.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Where it stands in its model's queue; `None` unless it is queued.
    #[serde(default)]
    pub queue: Option<QueuePlace>,
    /// Why a queued job cannot start at the moment, such as `no_worker_for_model`; `None` while it waits for its turn.
    #[serde(default)]
    pub blocked_reason: Option<String>,
    /// How far the running attempt is; `None` unless the job runs.
    pub progress: Option<Progress>,
    /// Attempts that were started.
    pub attempts: i32,
    /// What it costs if it succeeds.
    pub price: Money,
    /// What it did cost.
    pub cost: Option<Money>,
    /// Milliseconds of each stage of the latest attempt.
    pub timings: Option<BTreeMap<String, f64>>,
    /// The caller's own labels.
    pub metadata: BTreeMap<String, String>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it became final.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it expires unless it is final by then.
    pub deadline: DateTime<Utc>,
    /// When it and its results may be deleted.
    pub expires_at: DateTime<Utc>,
    /// The failed job that an operator runs again by this one.
    #[serde(default)]
    pub replay_of: Option<Uuid>,
    /// The job by which an operator runs this failed one again.
    #[serde(default)]
    pub replayed_by: Option<Uuid>,
    /// The batch it was submitted with.
    #[serde(default)]
    pub batch_id: Option<Uuid>,
    /// The webhook that it was submitted with.
    #[serde(default)]
    pub webhook: Option<JobWebhook>,
    /// Where to look and what to do.
    pub links: Links,
}

/// Where a queued job stands: estimates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QueuePlace {
    /// 1 for the job that will start next.
    pub position: u64,
    /// Seconds until it starts; `None` while that is not known.
    pub estimated_wait_seconds: Option<f64>,
}

/// A stored result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its id.
    pub id: Uuid,
    /// Which result of the job, from 0.
    pub index: u32,
    /// Where to fetch it; needs no key.
    pub url: String,
    /// Media type.
    pub content_type: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file in lower-case hexadecimal.
    pub sha256: String,
    /// Width in pixels; `None` for a caption.
    pub width: Option<u32>,
    /// Height in pixels; `None` for a caption.
    pub height: Option<u32>,
    /// Seed of a picture.
    pub seed: Option<u64>,
    /// Whether the safety checker flagged it.
    pub nsfw: bool,
    /// The caption.
    pub text: Option<String>,
}

/// Something that a job does not fail for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// The kind of warning, a stable word.
    pub code: String,
    /// What it says, for people.
    pub message: String,
    /// What it is about.
    pub detail: Value,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of failure, a stable word.
    pub code: String,
    /// What failed.
    pub message: String,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// A decimal number, as text so that nothing is lost.
    pub amount: String,
    /// Currency code.
    pub currency: String,
}

/// A job's own URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// Where to POST to cancel it.
    pub cancel: String,
}

/// One page of a list of jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}
