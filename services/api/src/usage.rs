//! `GET /v1/usage`: what a tenant used and what it cost, by day.

mod period;
mod report;

use axum::Json;
use axum::extract::{RawQuery, State};
use darkroom_jobs::TenantId;
use darkroom_store::Store;

use crate::deadline::bounded;
use crate::{Error, Reader};

pub(crate) use report::UsageReport;

/// The usage in the store.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    pub(crate) store: Store,
}

/// Show usage and cost by day.
#[utoipa::path(
    get,
    path = "/v1/usage",
    operation_id = "show_usage",
    tag = "usage",
    params(
        ("from" = Option<NaiveDate>, Query, description = "First UTC day, 29 days before `to` unless given."),
        ("to" = Option<NaiveDate>, Query, description = "Last UTC day, at most 366 days in all; today unless given."),
    ),
    responses(
        (status = 200, description = "Usage and cost of those days.", body = UsageReport),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(crate) async fn show(
    State(usage): State<Usage>,
    Reader(tenant): Reader,
    RawQuery(query): RawQuery,
) -> Result<Json<UsageReport>, Error> {
    usage.report(tenant, query.as_deref().unwrap_or_default()).await.map(Json)
}

impl Usage {
    /// What a tenant used in the period that a query names.
    pub(crate) async fn report(&self, tenant: TenantId, query: &str) -> Result<UsageReport, Error> {
        let today = bounded(self.store.now()).await?.date_naive();
        let period = period::parse(query, today).map_err(Error::Fields)?;
        let used = bounded(self.store.usage(tenant, period.from, period.to)).await?;
        Ok(UsageReport::new(period, &used))
    }
}
