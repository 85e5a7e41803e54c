//! Failed jobs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Failure, Job};

/// Which failed jobs; every condition that is given has to be met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedFilter {
    /// Id or name of the tenant.
    pub tenant: Option<String>,
    /// The lane, `pipeline:model`.
    pub lane: Option<String>,
    /// How they, or their last attempts, failed.
    pub failure_class: Option<String>,
    /// Failed at least so long ago.
    pub older_than_seconds: Option<u32>,
    /// Failed at most so long ago.
    pub newer_than_seconds: Option<u32>,
}

impl FailedFilter {
    pub(super) fn query(&self) -> Vec<(&'static str, Option<String>)> {
        let seconds = |seconds: Option<u32>| seconds.map(|seconds| seconds.to_string());
        vec![
            ("tenant", self.tenant.clone()),
            ("lane", self.lane.clone()),
            ("failure_class", self.failure_class.clone()),
            ("older_than_seconds", seconds(self.older_than_seconds)),
            ("newer_than_seconds", seconds(self.newer_than_seconds)),
        ]
    }
}

/// One page of failed jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedJobPage {
    /// The jobs.
    pub jobs: Vec<FailedJob>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// A failed job, without what its owner wrote into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedJob {
    /// Its id.
    pub id: Uuid,
    /// Its owner.
    pub tenant_id: Uuid,
    /// Name of the owner.
    pub tenant: String,
    /// Where it waited.
    pub lane: String,
    /// Its priority.
    pub priority: String,
    /// Why it failed, as its owner sees it.
    pub error: Failure,
    /// What ended its last attempt.
    pub last_attempt: Option<String>,
    /// Who ran that attempt.
    pub last_worker_id: Option<Uuid>,
    /// Attempts that were started.
    pub attempts: i32,
    /// Attempts that failed or were lost.
    pub failures: i16,
    /// Lost attempts that ended with their worker.
    pub worker_deaths: i16,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it failed.
    pub finished_at: DateTime<Utc>,
    /// Until when it can be run again.
    pub deadline: DateTime<Utc>,
    /// `open`, `replayed` or `discarded`.
    pub standing: String,
    /// The failed job that it ran again.
    pub replay_of: Option<Uuid>,
    /// The job that runs it again.
    pub replayed_by: Option<Uuid>,
    /// When it was put aside.
    pub discarded_at: Option<DateTime<Utc>>,
}

/// A failed job with everything about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedJobDetail {
    /// The job as lists have it.
    #[serde(flatten)]
    pub failed: FailedJob,
    /// Every attempt at it, in order.
    pub history: Vec<Attempt>,
    /// The job as its owner sees it.
    pub job: Job,
}

/// A try at a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: i32,
    /// Who ran it.
    pub worker_id: Uuid,
    /// How it ended.
    pub state: String,
    /// Why it failed.
    pub error: Option<Failure>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The job that runs a failed one again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Its id.
    pub id: Uuid,
    /// The failed job.
    pub replay_of: Uuid,
}

/// What became of a decision about many jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Jobs that matched.
    pub matching: u64,
    /// Those of them that it was done with, the oldest first.
    pub done: u64,
    /// Those that are left.
    pub remaining: u64,
}
