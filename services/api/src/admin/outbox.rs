//! The outbox: whether tickets are published.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use crate::Error;
use crate::auth::Observer;
use crate::deadline::bounded;

/// Rows on their way to become tickets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Outbox)]
pub(crate) struct OutboxView {
    /// How many there are.
    rows: i64,
    /// For how long the one that is due longest has been due; 0 when none is. Above 30 nobody publishes.
    late_seconds: f64,
}

/// Show whether tickets are published.
#[utoipa::path(
    get,
    path = "/admin/v1/outbox",
    operation_id = "show_outbox",
    tag = "lanes",
    responses(
        (status = 200, description = "How many rows wait, and how late the first one is.", body = OutboxView),
    ),
    security(("key" = []))
)]
pub(super) async fn show(State(admin): State<Admin>, _: Observer) -> Result<Json<OutboxView>, Error> {
    let (rows, late_seconds) = bounded(admin.store.outbox_depth()).await?;
    Ok(Json(OutboxView { rows, late_seconds }))
}
