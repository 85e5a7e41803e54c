//! `DELETE /v1/jobs/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use darkroom_store::Deleted;

use super::{JobPath, Jobs};
use crate::auth::TenantKey;
use crate::deadline::bounded;
use crate::{Error, Submitter};

/// Delete a final job.
///
/// Job, input and results are gone at once for every caller, and from storage soon after.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    operation_id = "delete_job",
    tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job's id.")),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 404, description = "No such job."),
        (status = 409, description = "`job_not_final`: cancel it first."),
    ),
    security(("key" = []))
)]
pub(crate) async fn delete(
    State(jobs): State<Jobs>,
    Submitter(TenantKey { tenant, .. }): Submitter,
    JobPath(id): JobPath,
) -> Result<StatusCode, Error> {
    match bounded(jobs.store.delete(tenant, id)).await? {
        Deleted::Done => Ok(StatusCode::NO_CONTENT),
        Deleted::NotFound => Err(Error::NotFound("job")),
        Deleted::NotFinal => Err(Error::NotFinal(jobs.find(tenant, id).await?.state)),
    }
}
