//! `GET /admin/v1/failed-jobs/{id}`.

use axum::Json;
use axum::extract::State;
use darkroom_store::Attempt;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::FailedView;
use crate::admin::Admin;
use crate::auth::Observer;
use crate::deadline::bounded;
use crate::jobs::JobPath;
use crate::jobs::resource::{FailureView, Timestamp};
use crate::{Error, JobView};

/// A failed job with everything about it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FailedJobDetail)]
pub(crate) struct DetailView {
    #[serde(flatten)]
    failed: FailedView,
    /// Every attempt at it, in order.
    history: Vec<AttemptView>,
    /// The job as its owner sees it, prompt and results so far included.
    job: JobView,
}

/// A try at a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// Its number, from 1.
    number: i32,
    /// Who ran it.
    worker_id: Uuid,
    /// `succeeded`, `failed`, `released`, `lost` or `canceled`.
    #[schema(example = "failed")]
    state: &'static str,
    /// Why it failed.
    error: Option<FailureView>,
    /// When it began.
    started_at: Timestamp,
    /// When it ended.
    finished_at: Option<Timestamp>,
}

/// Show a failed job, with its attempts and what was asked for.
#[utoipa::path(
    get,
    path = "/admin/v1/failed-jobs/{id}",
    operation_id = "show_failed_job",
    tag = "failed jobs",
    params(("id" = uuid::Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job.", body = DetailView),
        (status = 404, description = "No such failed job."),
    ),
    security(("key" = []))
)]
pub(in crate::admin) async fn show(
    State(admin): State<Admin>,
    _: Observer,
    JobPath(id): JobPath,
) -> Result<Json<DetailView>, Error> {
    let gone = || Error::NotFound("failed job");
    let failed = bounded(admin.store.failed_job(id)).await?.ok_or_else(gone)?;
    let job = bounded(admin.store.job(failed.tenant, id)).await?.ok_or_else(gone)?;
    let history = bounded(admin.store.attempts(id)).await?.into_iter().map(AttemptView::from).collect();
    Ok(Json(DetailView { failed: failed.into(), history, job: JobView::new(job, &admin.links) }))
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            worker_id: attempt.worker.as_uuid(),
            state: attempt.state.as_str(),
            error: attempt.failure.map(FailureView::from),
            started_at: Timestamp(attempt.leased_at),
            finished_at: attempt.finished_at.map(Timestamp),
        }
    }
}
