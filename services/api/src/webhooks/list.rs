//! `GET /v1/webhooks`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Webhooks;
use super::resource::WebhookView;
use crate::deadline::bounded;
use crate::{Error, Reader};

/// Every webhook of a tenant, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookList {
    /// The webhooks.
    webhooks: Vec<WebhookView>,
}

/// List webhooks, oldest first.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    operation_id = "list_webhooks",
    tag = "webhooks",
    responses(
        (status = 200, description = "All of them.", body = WebhookList),
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(webhooks): State<Webhooks>,
    Reader(tenant): Reader,
) -> Result<Json<WebhookList>, Error> {
    let found = bounded(webhooks.store.webhooks(tenant)).await?;
    Ok(Json(WebhookList { webhooks: found.into_iter().map(WebhookView::from).collect() }))
}
