//! `POST /v1/jobs/{id}/cancel`.

use axum::Json;
use axum::extract::State;
use darkroom_jobs::JobState;
use darkroom_store::Canceled;

use super::{JobPath, Jobs};
use crate::auth::TenantKey;
use crate::deadline::bounded;
use crate::{Error, JobView, Submitter};

/// Cancel a job.
///
/// The job is canceled, for good, when this answers; whoever runs it stops soon. Canceling it again changes
/// nothing.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    operation_id = "cancel_job",
    tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The canceled job.", body = JobView),
        (status = 404, description = "No such job."),
        (status = 409, description = "`job_already_final`: it ended otherwise before."),
    ),
    security(("key" = []))
)]
pub(crate) async fn cancel(
    State(jobs): State<Jobs>,
    Submitter(TenantKey { tenant, .. }): Submitter,
    JobPath(id): JobPath,
) -> Result<Json<JobView>, Error> {
    let canceled = bounded(jobs.store.cancel(tenant, id)).await?;
    let job = match canceled {
        Canceled::NotFound => return Err(Error::NotFound("job")),
        Canceled::Done | Canceled::AlreadyFinal => jobs.find(tenant, id).await?,
    };
    if canceled == Canceled::AlreadyFinal && job.state != JobState::Canceled {
        return Err(Error::AlreadyFinal(job.state));
    }
    Ok(Json(jobs.view(job).await))
}
