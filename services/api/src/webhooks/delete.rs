//! `DELETE /v1/webhooks/{id}`.

use axum::extract::State;
use axum::http::StatusCode;

use super::{WEBHOOK, WebhookPath, Webhooks};
use crate::deadline::bounded;
use crate::{Error, Submitter};

/// Delete a webhook with its deliveries.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    operation_id = "delete_webhook",
    tag = "webhooks",
    params(("id" = uuid::Uuid, Path, description = "The webhook's id.")),
    responses(
        (status = 204, description = "It is gone; nothing more is sent."),
        (status = 404, description = "No such webhook."),
    ),
    security(("key" = []))
)]
pub(crate) async fn delete(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
    WebhookPath(id): WebhookPath,
) -> Result<StatusCode, Error> {
    let deleted = bounded(webhooks.store.delete_webhook(key.tenant, id)).await?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(WEBHOOK) }
}
