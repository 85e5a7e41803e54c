//! `PATCH /v1/webhooks/{id}`.

use axum::Json;
use axum::extract::State;
use utoipa::ToSchema;

use super::document::Document;
use super::resource::WebhookView;
use super::{WEBHOOK, WebhookPath, Webhooks};
use crate::deadline::bounded;
use crate::openapi::words;
use crate::{Error, Submitter};

/// What is to be changed; what is left out stays.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct WebhookUpdate {
    /// Where messages are posted to.
    url: Option<String>,
    /// What it is told, at least one.
    events: Option<Vec<words::JobEvent>>,
    /// What it is for, at most 256 characters.
    description: Option<String>,
    /// Whether anything is sent.
    enabled: Option<bool>,
}

/// Change a webhook.
///
/// `"enabled": true` also enables one that was disabled because it failed or answered 410.
#[utoipa::path(
    patch,
    path = "/v1/webhooks/{id}",
    operation_id = "update_webhook",
    tag = "webhooks",
    params(("id" = uuid::Uuid, Path, description = "The webhook's id.")),
    request_body = WebhookUpdate,
    responses(
        (status = 200, description = "The changed webhook.", body = WebhookView),
        (status = 404, description = "No such webhook."),
        (status = 422, description = "Every member that cannot be used."),
    ),
    security(("key" = []))
)]
pub(crate) async fn update(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
    WebhookPath(id): WebhookPath,
    document: Document,
) -> Result<Json<WebhookView>, Error> {
    let change = document.change(&webhooks.guard)?;
    let webhook = bounded(webhooks.store.update_webhook(key.tenant, id, &change)).await?.ok_or(WEBHOOK)?;
    Ok(Json(webhook.into()))
}
