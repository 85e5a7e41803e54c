//! Lanes, workers, outbox.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Progress;

#[derive(Debug, Deserialize)]
pub(super) struct LaneList {
    pub(super) lanes: Vec<Lane>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WorkerList {
    pub(super) workers: Vec<Worker>,
}

/// How a lane stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// The lane, `pipeline:model`.
    pub lane: String,
    /// Whether the catalog has its model.
    pub in_catalog: bool,
    /// Since when none of its jobs is begun; `None` while it is open.
    pub paused_at: Option<DateTime<Utc>>,
    /// Why it is paused.
    pub reason: Option<String>,
    /// Jobs that wait.
    pub queued: Queued,
    /// Jobs that run.
    pub running: u64,
    /// How long the job that was accepted first has waited.
    pub oldest_wait_seconds: Option<f64>,
    /// Jobs a minute: those that succeeded in the last five minutes.
    pub succeeded_per_minute: f64,
    /// Workers that serve it.
    pub workers: u64,
    /// Those of them that have its model in memory.
    pub loaded: u64,
}

/// Jobs that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// All of them.
    pub total: u64,
    /// Of priority interactive.
    pub interactive: u64,
    /// Of priority normal.
    pub normal: u64,
    /// Of priority background.
    pub background: u64,
    /// Those that wait for the end of the pause before a retry.
    pub delayed: u64,
}

/// A worker: one run of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its id.
    pub id: Uuid,
    /// Where it runs.
    pub host: String,
    /// Device it runs models on.
    pub device: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Its latest heartbeat.
    pub last_seen_at: DateTime<Utc>,
    /// How long ago that was.
    pub silent_seconds: f64,
    /// When it was asked to drain.
    pub drain_requested_at: Option<DateTime<Utc>>,
    /// Lanes it serves.
    pub lanes: Vec<LaneOfWorker>,
    /// What it runs.
    pub running: Vec<RunningAttempt>,
}

/// A lane that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneOfWorker {
    /// The lane.
    pub lane: String,
    /// Whether the model is in memory.
    pub loaded: bool,
    /// `available`, `downloading`, `absent` or `failed`.
    pub files: String,
    /// Bytes that are there, of a model whose files are fetched.
    pub downloaded_bytes: Option<u64>,
    /// All of its bytes; 0 until that is known.
    pub total_bytes: Option<u64>,
    /// Why its files could not be fetched.
    pub failure: Option<String>,
}

/// An attempt that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningAttempt {
    /// The job.
    pub job: Uuid,
    /// Number of the attempt.
    pub attempt: i32,
    /// The job's owner.
    pub tenant_id: Uuid,
    /// The job's lane.
    pub lane: String,
    /// When it began.
    pub leased_at: DateTime<Utc>,
    /// Until when it is left alone without a heartbeat.
    pub lease_expires_at: DateTime<Utc>,
    /// How far it is.
    pub progress: Option<Progress>,
}

/// Rows on their way to become tickets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    /// How many there are.
    pub rows: i64,
    /// For how long the one that is due longest has been due.
    pub late_seconds: f64,
}
