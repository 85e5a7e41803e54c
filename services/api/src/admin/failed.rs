//! Failed jobs: looking at them, running them again, putting them aside.

pub(super) mod decide;
mod filter;
pub(super) mod list;
pub(super) mod show;

use darkroom_store::FailedJob;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::jobs::resource::{FailureView, Timestamp};

/// A failed job, without what its owner wrote into it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FailedJob)]
pub(crate) struct FailedView {
    /// Its id.
    id: Uuid,
    /// Its owner.
    tenant_id: Uuid,
    /// Name of the owner.
    tenant: String,
    /// Where it waited.
    #[schema(example = "text-to-image:darkroom/shapes-sd")]
    lane: String,
    /// `interactive`, `normal` or `background`.
    priority: &'static str,
    /// Why it failed, as its owner sees it.
    error: FailureView,
    /// What ended its last attempt: a job out of attempts is `poison`, whatever ended them.
    #[schema(example = "infrastructure")]
    last_attempt: Option<&'static str>,
    /// Who ran that attempt.
    last_worker_id: Option<Uuid>,
    /// Attempts that were started.
    attempts: i32,
    /// Attempts that failed or were lost.
    failures: i16,
    /// Lost attempts that ended with their worker.
    worker_deaths: i16,
    /// When it was accepted.
    created_at: Timestamp,
    /// When it failed.
    finished_at: Timestamp,
    /// Until when it can be run again.
    deadline: Timestamp,
    /// What was decided about it: `open`, `replayed` or `discarded`.
    #[schema(example = "open")]
    standing: &'static str,
    /// The failed job that it ran again.
    replay_of: Option<Uuid>,
    /// The job that runs it again.
    replayed_by: Option<Uuid>,
    /// When it was put aside.
    discarded_at: Option<Timestamp>,
}

impl From<FailedJob> for FailedView {
    fn from(job: FailedJob) -> Self {
        Self {
            id: job.id.as_uuid(),
            tenant_id: job.tenant.as_uuid(),
            tenant: job.tenant_name,
            lane: job.lane.to_string(),
            priority: job.priority.as_str(),
            error: job.failure.into(),
            last_attempt: job.last_attempt.map(darkroom_jobs::FailureClass::as_str),
            last_worker_id: job.last_worker.map(darkroom_jobs::WorkerId::as_uuid),
            attempts: job.attempts,
            failures: job.failures,
            worker_deaths: job.worker_deaths,
            created_at: Timestamp(job.created_at),
            finished_at: Timestamp(job.finished_at),
            deadline: Timestamp(job.deadline),
            standing: job.standing.as_str(),
            replay_of: job.replay_of.map(darkroom_jobs::JobId::as_uuid),
            replayed_by: job.replayed_by.map(darkroom_jobs::JobId::as_uuid),
            discarded_at: job.discarded_at.map(Timestamp),
        }
    }
}
