//! `POST /v1/jobs/{id}/deliveries/{delivery}/resend`.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use darkroom_jobs::{DeliveryId, JobId};

use super::Jobs;
use crate::deadline::bounded;
use crate::webhooks::resource::DeliveryView;
use crate::{Error, Submitter};

/// The ids of a job and of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobDeliveryPath(JobId, DeliveryId);

const DELIVERY: Error = Error::NotFound("delivery");

impl<S: Send + Sync> FromRequestParts<S> for JobDeliveryPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let ids =
            path.ok().and_then(|Path((job, delivery))| Some(Self(job.parse().ok()?, delivery.parse().ok()?)));
        ids.ok_or(DELIVERY)
    }
}

/// Send a message to a job's own webhook again.
///
/// Whatever became of it: at once, with the same id, and by the whole schedule if it fails.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/deliveries/{delivery}/resend",
    operation_id = "resend_job_delivery",
    tag = "webhooks",
    params(
        ("id" = uuid::Uuid, Path, description = "The job's id."),
        ("delivery" = uuid::Uuid, Path, description = "The delivery's id."),
    ),
    responses(
        (status = 202, description = "The delivery, yet to be made.", body = DeliveryView),
        (status = 404, description = "No such delivery."),
    ),
    security(("key" = []))
)]
pub(crate) async fn resend_job_delivery(
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    JobDeliveryPath(job, delivery): JobDeliveryPath,
) -> Result<(StatusCode, Json<DeliveryView>), Error> {
    jobs.find(key.tenant, job).await?;
    let sending = bounded(jobs.store.resend_job_delivery(key.tenant, job, delivery)).await?;
    Ok((StatusCode::ACCEPTED, Json(sending.ok_or(DELIVERY)?.into())))
}
