//! `POST /v1/batches/{id}/cancel`.

use axum::Json;
use axum::extract::State;

use super::{BatchPath, BatchView};
use crate::auth::TenantKey;
use crate::deadline::bounded;
use crate::jobs::Jobs;
use crate::{Error, Submitter};

/// Cancel those jobs of a batch that are not final.
///
/// They are canceled, for good, when this answers; whoever runs one stops soon. Repeating it changes nothing.
#[utoipa::path(
    post,
    path = "/v1/batches/{id}/cancel",
    operation_id = "cancel_batch",
    tag = "batches",
    params(("id" = uuid::Uuid, Path, description = "The batch's id.")),
    responses(
        (status = 200, description = "None of its jobs will run.", body = BatchView),
        (status = 404, description = "No such batch."),
    ),
    security(("key" = []))
)]
pub(crate) async fn cancel(
    State(jobs): State<Jobs>,
    Submitter(TenantKey { tenant, .. }): Submitter,
    BatchPath(id): BatchPath,
) -> Result<Json<BatchView>, Error> {
    bounded(jobs.store.cancel_batch(tenant, id)).await?;
    Ok(Json(BatchView::from(&jobs.batch(tenant, id).await?)))
}
