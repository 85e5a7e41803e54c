//! Workers: what they do, and asking one to end.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use darkroom_jobs::{Lane, WorkerId};
use darkroom_store::{FilesStatus, ModelStatus, RunningAttempt, WorkerDetail};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Admin, Named};
use crate::Error;
use crate::auth::{Observer, Operator};
use crate::deadline::bounded;
use crate::jobs::resource::{ProgressView, Timestamp};

/// A worker: one run of a process.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Worker)]
pub(crate) struct WorkerView {
    /// Its id.
    id: Uuid,
    /// Where it runs.
    host: String,
    /// Device it runs models on.
    #[schema(example = "cuda:0")]
    device: String,
    /// When it started.
    started_at: Timestamp,
    /// Its latest heartbeat.
    last_seen_at: Timestamp,
    /// How long ago that was. Heartbeats come every two seconds; after fifteen a worker counts nowhere.
    silent_seconds: f64,
    /// When it was asked to drain.
    drain_requested_at: Option<Timestamp>,
    /// Lanes it serves.
    lanes: Vec<LaneOfWorker>,
    /// What it runs.
    running: Vec<RunningView>,
}

/// A lane that a worker serves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LaneOfWorker {
    /// The lane.
    lane: String,
    /// Whether the model is in memory.
    loaded: bool,
    /// How it stands with the model's files: `available`, `downloading`, `absent` or `failed`.
    #[schema(example = "available")]
    files: &'static str,
    /// Bytes that are there, of a model whose files are fetched.
    downloaded_bytes: Option<u64>,
    /// All of its bytes; 0 until that is known.
    total_bytes: Option<u64>,
    /// Why its files could not be fetched.
    failure: Option<String>,
}

/// An attempt that runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunningAttempt)]
pub(crate) struct RunningView {
    /// The job.
    job: Uuid,
    /// Number of the attempt.
    attempt: i32,
    /// The job's owner.
    tenant_id: Uuid,
    /// The job's lane.
    lane: String,
    /// When it began.
    leased_at: Timestamp,
    /// Until when it is left alone without a heartbeat.
    lease_expires_at: Timestamp,
    /// How far it is.
    progress: Option<ProgressView>,
}

/// Workers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerList {
    /// Those of the last day that did not end in order, in the order in which they started.
    workers: Vec<WorkerView>,
}

/// List the workers.
#[utoipa::path(
    get,
    path = "/admin/v1/workers",
    operation_id = "list_workers",
    tag = "workers",
    responses(
        (status = 200, description = "The workers.", body = WorkerList),
    ),
    security(("key" = []))
)]
pub(super) async fn list(State(admin): State<Admin>, _: Observer) -> Result<Json<WorkerList>, Error> {
    let workers = bounded(admin.store.worker_details()).await?;
    Ok(Json(WorkerList { workers: workers.into_iter().map(WorkerView::from).collect() }))
}

/// Show a worker.
#[utoipa::path(
    get,
    path = "/admin/v1/workers/{id}",
    operation_id = "show_worker",
    tag = "workers",
    params(("id" = uuid::Uuid, Path, description = "The worker's id.")),
    responses(
        (status = 200, description = "The worker.", body = WorkerView),
        (status = 404, description = "No such worker: it has ended."),
    ),
    security(("key" = []))
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    _: Observer,
    id: Named,
) -> Result<Json<WorkerView>, Error> {
    admin.worker(WorkerId::from_uuid(id.uuid("worker")?)).await
}

/// Drain a worker.
///
/// It hears of it within two seconds, takes nothing new, finishes what it runs or hands it back after its grace
/// period, and ends with success, as after SIGTERM. What restarts whatever ends starts it again, under a new id.
#[utoipa::path(
    post,
    path = "/admin/v1/workers/{id}/drain",
    operation_id = "drain_worker",
    tag = "workers",
    params(("id" = uuid::Uuid, Path, description = "The worker's id.")),
    responses(
        (status = 200, description = "The worker, which will end.", body = WorkerView),
        (status = 404, description = "No such worker: it has ended."),
    ),
    security(("key" = []))
)]
pub(super) async fn drain(
    State(admin): State<Admin>,
    _: Operator,
    id: Named,
) -> Result<Json<WorkerView>, Error> {
    let id = WorkerId::from_uuid(id.uuid("worker")?);
    if !bounded(admin.store.drain_worker(id)).await? {
        return Err(Error::NotFound("worker"));
    }
    tracing::info!(worker = %id, "an operator asked a worker to drain");
    admin.worker(id).await
}

impl Admin {
    async fn worker(&self, id: WorkerId) -> Result<Json<WorkerView>, Error> {
        let worker = bounded(self.store.worker_detail(id)).await?;
        worker.map(|worker| Json(worker.into())).ok_or(Error::NotFound("worker"))
    }
}

impl From<WorkerDetail> for WorkerView {
    fn from(worker: WorkerDetail) -> Self {
        let lane = |lane: &Lane| LaneOfWorker::new(lane, worker.loaded.contains(lane), &worker.models);
        Self {
            id: worker.id.as_uuid(),
            lanes: worker.lanes.iter().map(lane).collect(),
            host: worker.host,
            device: worker.device,
            started_at: Timestamp(worker.started_at),
            last_seen_at: Timestamp(worker.last_seen_at),
            silent_seconds: worker.silent_s,
            drain_requested_at: worker.drain_requested_at.map(Timestamp),
            running: worker.running.into_iter().map(RunningView::from).collect(),
        }
    }
}

impl LaneOfWorker {
    fn new(lane: &Lane, loaded: bool, models: &BTreeMap<Lane, ModelStatus>) -> Self {
        // Of a model that a worker says nothing about, the files are there.
        let files = models.get(lane).map_or(&FilesStatus::Available, |model| &model.files);
        let (word, downloaded_bytes, total_bytes, failure) = match files {
            FilesStatus::Absent => ("absent", None, None, None),
            FilesStatus::Available => ("available", None, None, None),
            FilesStatus::Downloading { downloaded_bytes, total_bytes } => {
                ("downloading", Some(*downloaded_bytes), Some(*total_bytes), None)
            }
            FilesStatus::Failed { reason } => ("failed", None, None, Some(reason.clone())),
        };
        Self { lane: lane.to_string(), loaded, files: word, downloaded_bytes, total_bytes, failure }
    }
}

impl From<RunningAttempt> for RunningView {
    fn from(attempt: RunningAttempt) -> Self {
        Self {
            job: attempt.job.as_uuid(),
            attempt: attempt.attempt,
            tenant_id: attempt.tenant.as_uuid(),
            lane: attempt.lane.to_string(),
            leased_at: Timestamp(attempt.leased_at),
            lease_expires_at: Timestamp(attempt.lease_expires_at),
            progress: attempt.progress.map(ProgressView::from),
        }
    }
}
