//! `GET /v1/jobs/{id}/deliveries`.

use axum::Json;
use axum::extract::{RawQuery, State};

use super::{JobPath, Jobs};
use crate::deadline::bounded;
use crate::openapi::words;
use crate::webhooks::deliveries::{DeliveryPage, wanted};
use crate::{Error, Reader};

/// List what was sent to a job's own webhook, newest first.
///
/// With every attempt. Nothing for a job without one.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/deliveries",
    operation_id = "list_job_deliveries",
    tag = "webhooks",
    params(
        ("id" = uuid::Uuid, Path, description = "The job's id."),
        ("state" = Option<words::DeliveryState>, Query, description = "Only deliveries in this state: `pending`, `delivered`, `failed`."),
        ("limit" = Option<u32>, Query, description = "Deliveries per page, 1 to 100.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page.", body = DeliveryPage),
        (status = 404, description = "No such job."),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(crate) async fn job_deliveries(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    JobPath(id): JobPath,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryPage>, Error> {
    let filter = wanted(query.as_deref())?;
    jobs.find(tenant, id).await?;
    let found = bounded(jobs.store.job_deliveries(tenant, id, &DeliveryPage::probe(&filter))).await?;
    Ok(Json(DeliveryPage::new(found, &filter)))
}
