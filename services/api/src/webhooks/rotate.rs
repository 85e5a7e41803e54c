//! `POST /v1/webhooks/{id}/rotate-secret`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;

use super::resource::WebhookWithSecret;
use super::{WEBHOOK, WebhookPath, Webhooks};
use crate::deadline::bounded;
use crate::{Error, Submitter};

/// Give a webhook another secret.
///
/// For the next 24 hours messages are signed with both, so that receivers can be changed meanwhile.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/rotate-secret",
    operation_id = "rotate_webhook_secret",
    tag = "webhooks",
    params(("id" = uuid::Uuid, Path, description = "The webhook's id.")),
    responses(
        (status = 200, description = "The webhook with its new secret.", body = WebhookWithSecret),
        (status = 404, description = "No such webhook."),
    ),
    security(("key" = []))
)]
pub(crate) async fn rotate(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
    WebhookPath(id): WebhookPath,
) -> Result<([(HeaderName, &'static str); 1], Json<WebhookWithSecret>), Error> {
    let secret = webhooks.mint.secret();
    let new = secret.to_vec().into();
    let rotated =
        bounded(webhooks.store.rotate_webhook_secret(key.tenant, id, &new)).await?.ok_or(WEBHOOK)?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(WebhookWithSecret::new(rotated, &secret))))
}
