//! Workers as operators see them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use darkroom_jobs::{JobId, Lane, TenantId, WorkerId};
use serde::Deserialize;
use uuid::Uuid;

use crate::rows::At;
use crate::{Error, ModelStatus, Progress, Store};

/// A worker with what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerDetail {
    /// Id of this run of the process.
    pub id: WorkerId,
    /// Where it runs.
    pub host: String,
    /// Device it runs models on.
    pub device: String,
    /// Lanes it serves.
    pub lanes: Vec<Lane>,
    /// Lanes whose model it has in memory.
    pub loaded: Vec<Lane>,
    /// How it stands with the models' files. Of a lane that is absent, they are there.
    pub models: BTreeMap<Lane, ModelStatus>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Its latest heartbeat.
    pub last_seen_at: DateTime<Utc>,
    /// How long ago that was on the database's clock, in seconds.
    pub silent_s: f64,
    /// When it was asked to drain.
    pub drain_requested_at: Option<DateTime<Utc>>,
    /// What it runs.
    pub running: Vec<RunningAttempt>,
}

/// An attempt that runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunningAttempt {
    /// The job.
    pub job: JobId,
    /// Number of the attempt.
    pub attempt: i32,
    /// The job's owner.
    pub tenant: TenantId,
    /// The job's lane.
    pub lane: Lane,
    /// When it began.
    pub leased_at: DateTime<Utc>,
    /// Until when it is left alone without a heartbeat.
    pub lease_expires_at: DateTime<Utc>,
    /// How far it is.
    pub progress: Option<Progress>,
}

impl Store {
    /// Workers of the last day that did not sign off, with what they run.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn worker_details(&self) -> Result<Vec<WorkerDetail>, Error> {
        self.details(None).await
    }

    /// A worker, with what it runs.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn worker_detail(&self, id: WorkerId) -> Result<Option<WorkerDetail>, Error> {
        Ok(self.details(Some(id.as_uuid())).await?.pop())
    }

    async fn details(&self, only: Option<Uuid>) -> Result<Vec<WorkerDetail>, Error> {
        let rows = sqlx::query!(
            r#"
            select w.id, w.host, w.device, w.lanes, w.loaded, w.models, w.started_at, w.last_seen_at,
                   w.drain_requested_at,
                   greatest(extract(epoch from now() - w.last_seen_at), 0)::float8 as "silent_s!",
                   (select coalesce(jsonb_agg(jsonb_build_object(
                               'job', a.job_id, 'attempt', a.number, 'tenant', a.tenant_id, 'lane', a.lane,
                               'leased_at', a.leased_at, 'lease_expires_at', a.lease_expires_at,
                               'progress', a.progress) order by a.leased_at), '[]')
                    from attempts a where a.state = 'running' and a.worker_id = w.id) as "running!"
            from workers w where $1::uuid is null or w.id = $1
            order by w.id
            "#,
            only
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let at = At { table: "workers", id: row.id };
                let lanes = |column, words: &[String]| {
                    words.iter().map(|word| at.word(column, word)).collect::<Result<Vec<Lane>, Error>>()
                };
                Ok(WorkerDetail {
                    id: WorkerId::from_uuid(row.id),
                    lanes: lanes("lanes", &row.lanes)?,
                    loaded: lanes("loaded", &row.loaded)?,
                    models: at.json("models", row.models)?,
                    running: at.json("running", row.running)?,
                    host: row.host,
                    device: row.device,
                    started_at: row.started_at,
                    last_seen_at: row.last_seen_at,
                    silent_s: row.silent_s,
                    drain_requested_at: row.drain_requested_at,
                })
            })
            .collect()
    }

    /// Asks a worker to finish what it runs, take nothing new, and end. It hears of it with its next heartbeat. Asking
    /// again changes nothing. `false` when there is no such worker.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn drain_worker(&self, id: WorkerId) -> Result<bool, Error> {
        let asked = sqlx::query!(
            "update workers set drain_requested_at = coalesce(drain_requested_at, now()) where id = $1",
            id.as_uuid()
        )
        .execute(&self.pool)
        .await?;
        Ok(asked.rows_affected() > 0)
    }
}
