//! `POST /v1/webhooks/{id}/test`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::resource::DeliveryView;
use super::{WEBHOOK, WebhookPath, Webhooks, pending};
use crate::deadline::bounded;
use crate::{Error, Submitter};

/// Send a test message to a webhook.
///
/// It is sent like every other, with the event `webhook.test`; its delivery tells what became of it.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/test",
    operation_id = "test_webhook",
    tag = "webhooks",
    params(("id" = uuid::Uuid, Path, description = "The webhook's id.")),
    responses(
        (status = 202, description = "The delivery, yet to be made.", body = DeliveryView),
        (status = 404, description = "No such webhook."),
        (status = 409, description = "`webhook_disabled`."),
    ),
    security(("key" = []))
)]
pub(crate) async fn test(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
    WebhookPath(id): WebhookPath,
) -> Result<(StatusCode, Json<DeliveryView>), Error> {
    let sending = bounded(webhooks.store.send_test(key.tenant, id)).await?;
    Ok((StatusCode::ACCEPTED, Json(pending(sending, WEBHOOK)?)))
}
