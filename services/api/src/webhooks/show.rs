//! `GET /v1/webhooks/{id}`.

use axum::Json;
use axum::extract::State;

use super::resource::WebhookView;
use super::{WEBHOOK, WebhookPath, Webhooks};
use crate::deadline::bounded;
use crate::{Error, Reader};

/// Show a webhook.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}",
    operation_id = "show_webhook",
    tag = "webhooks",
    params(("id" = uuid::Uuid, Path, description = "The webhook's id.")),
    responses(
        (status = 200, description = "The webhook, without its secret.", body = WebhookView),
        (status = 404, description = "No such webhook."),
    ),
    security(("key" = []))
)]
pub(crate) async fn show(
    State(webhooks): State<Webhooks>,
    Reader(tenant): Reader,
    WebhookPath(id): WebhookPath,
) -> Result<Json<WebhookView>, Error> {
    let webhook = bounded(webhooks.store.webhook(tenant, id)).await?.ok_or(WEBHOOK)?;
    Ok(Json(webhook.into()))
}
