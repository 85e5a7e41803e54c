//! What a tenant used and what it cost.

use axum::Json;
use axum::extract::{RawQuery, State};

use super::{Admin, Named};
use crate::Error;
use crate::auth::Observer;
use crate::usage::{Usage, UsageReport};

/// Show usage and cost of a tenant by day.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants/{tenant}/usage",
    operation_id = "show_tenant_usage",
    tag = "tenants",
    params(
        ("tenant" = String, Path, description = "The tenant's id or name."),
        ("from" = Option<NaiveDate>, Query, description = "First UTC day, 29 days before `to` unless given."),
        ("to" = Option<NaiveDate>, Query, description = "Last UTC day, at most 366 days in all; today unless given."),
    ),
    responses(
        (status = 200, description = "Usage and cost of those days.", body = UsageReport),
        (status = 404, description = "No such tenant."),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    State(usage): State<Usage>,
    _: Observer,
    Named(tenant): Named,
    RawQuery(query): RawQuery,
) -> Result<Json<UsageReport>, Error> {
    let tenant = admin.tenant(&tenant).await?;
    usage.report(tenant.id, query.as_deref().unwrap_or_default()).await.map(Json)
}
