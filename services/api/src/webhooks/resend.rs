//! `POST /v1/webhooks/{id}/deliveries/{delivery}/resend`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::resource::DeliveryView;
use super::{DELIVERY, DeliveryPath, Webhooks, pending};
use crate::deadline::bounded;
use crate::{Error, Submitter};

/// Send a message again.
///
/// Whatever became of it: at once, with the same id, and by the whole schedule if it fails.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/deliveries/{delivery}/resend",
    operation_id = "resend_delivery",
    tag = "webhooks",
    params(
        ("id" = uuid::Uuid, Path, description = "The webhook's id."),
        ("delivery" = uuid::Uuid, Path, description = "The delivery's id."),
    ),
    responses(
        (status = 202, description = "The delivery, yet to be made.", body = DeliveryView),
        (status = 404, description = "No such delivery."),
        (status = 409, description = "`webhook_disabled`."),
    ),
    security(("key" = []))
)]
pub(crate) async fn resend(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
    DeliveryPath(webhook, delivery): DeliveryPath,
) -> Result<(StatusCode, Json<DeliveryView>), Error> {
    let sending = bounded(webhooks.store.resend_delivery(key.tenant, webhook, delivery)).await?;
    Ok((StatusCode::ACCEPTED, Json(pending(sending, DELIVERY)?)))
}
