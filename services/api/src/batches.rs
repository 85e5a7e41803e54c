//! Batches: many jobs that are submitted at once.

pub(crate) mod cancel;
pub(crate) mod show;
pub(crate) mod submit;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use darkroom_jobs::{BatchId, JobState, TenantId};
use darkroom_store::Batch;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Error;
use crate::deadline::bounded;
use crate::jobs::Jobs;
use crate::jobs::resource::Timestamp;

/// A batch's id out of the path. What is no id is the id of nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchPath(pub(crate) BatchId);

const BATCH: Error = Error::NotFound("batch");

impl<S: Send + Sync> FromRequestParts<S> for BatchPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok().and_then(|Path(id)| id.parse().ok()).map(Self).ok_or(BATCH)
    }
}

/// Jobs that were submitted at once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batch)]
pub(crate) struct BatchView {
    /// Its id, a UUIDv7.
    id: Uuid,
    /// How many of its jobs are in each state.
    counts: Counts,
    /// When it was accepted.
    created_at: Timestamp,
}

/// Jobs by state; those that were deleted are left out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Counts {
    /// Jobs that wait.
    queued: u64,
    /// Jobs that run.
    running: u64,
    /// Jobs that are done.
    succeeded: u64,
    /// Jobs that failed.
    failed: u64,
    /// Jobs that were canceled.
    canceled: u64,
    /// Jobs whose deadline passed.
    expired: u64,
    /// All of them.
    total: u64,
}

impl From<&Batch> for BatchView {
    fn from(batch: &Batch) -> Self {
        let count = |state| batch.counts.get(&state).copied().unwrap_or_default();
        let counts = Counts {
            queued: count(JobState::Queued),
            running: count(JobState::Running),
            succeeded: count(JobState::Succeeded),
            failed: count(JobState::Failed),
            canceled: count(JobState::Canceled),
            expired: count(JobState::Expired),
            total: batch.counts.values().sum(),
        };
        Self { id: batch.id.as_uuid(), counts, created_at: Timestamp(batch.created_at) }
    }
}

impl Jobs {
    /// The tenant's batch.
    async fn batch(&self, tenant: TenantId, id: BatchId) -> Result<Batch, Error> {
        bounded(self.store.batch(tenant, id)).await?.ok_or(BATCH)
    }
}
