//! Tenants and their limits.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use darkroom_jobs::{Fields, TenantId};
use darkroom_store::{LimitChanges, Tenant, TenantLimits, Unfinished};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::document::{Document, read_name};
use super::{Admin, Named};
use crate::Error;
use crate::auth::{Observer, Operator};
use crate::deadline::bounded;
use crate::jobs::resource::Timestamp;
use crate::mint::Mint;

/// Owner of API keys, jobs, limits and usage.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(crate) struct TenantView {
    /// Its id.
    id: Uuid,
    /// Name operators use.
    name: String,
    /// When it was made.
    created_at: Timestamp,
    /// What it may have at once.
    limits: LimitsView,
    /// How many of its jobs are not final; null in lists.
    unfinished: Option<UnfinishedView>,
}

/// Limits of a tenant; null for no limit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TenantLimits)]
pub(crate) struct LimitsView {
    /// Most queued jobs at once.
    max_queued: Option<u32>,
    /// Most running jobs at once.
    max_running: Option<u32>,
    /// Most that the jobs of one UTC day may cost, as a decimal number.
    #[schema(example = "12.5")]
    max_daily_cost: Option<String>,
    /// Most requests a minute to one API process.
    requests_per_minute: Option<u32>,
}

/// Jobs of a tenant that are not final.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Unfinished)]
pub(crate) struct UnfinishedView {
    /// Those that wait.
    queued: u64,
    /// Those that run.
    running: u64,
}

/// Every tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantList {
    /// The tenants, oldest first.
    tenants: Vec<TenantView>,
}

/// An amount of money, as text so that nothing is lost, or as a number.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `read_cost` reads")]
pub(crate) enum Amount {
    Text(String),
    Number(f64),
}

/// A tenant to be made.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what `read_name` and `read_limits` read")]
pub(crate) struct NewTenant {
    /// Its name, 1 to 100 characters.
    name: String,
    /// Most queued jobs at once; no limit unless given.
    max_queued: Option<u32>,
    /// Most running jobs at once; no limit unless given.
    max_running: Option<u32>,
    /// Most that the jobs of one UTC day may cost, as a decimal number; no limit unless given.
    max_daily_cost: Option<Amount>,
    /// Most requests a minute to one API process, at least 1; no limit unless given.
    #[schema(minimum = 1)]
    requests_per_minute: Option<u32>,
}

/// Limits to be changed: what is left out stays, null lifts a limit.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what `read_limits` reads")]
pub(crate) struct TenantChanges {
    /// Most queued jobs at once.
    max_queued: Option<u32>,
    /// Most running jobs at once.
    max_running: Option<u32>,
    /// Most that the jobs of one UTC day may cost, as a decimal number.
    max_daily_cost: Option<Amount>,
    /// Most requests a minute to one API process, at least 1.
    #[schema(minimum = 1)]
    requests_per_minute: Option<u32>,
}

/// List the tenants.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants",
    operation_id = "list_tenants",
    tag = "tenants",
    responses(
        (status = 200, description = "Every tenant.", body = TenantList),
    ),
    security(("key" = []))
)]
pub(super) async fn list(State(admin): State<Admin>, _: Observer) -> Result<Json<TenantList>, Error> {
    let tenants = bounded(admin.store.tenants()).await?;
    Ok(Json(TenantList { tenants: tenants.into_iter().map(|tenant| view(tenant, None)).collect() }))
}

/// Make a tenant.
#[utoipa::path(
    post,
    path = "/admin/v1/tenants",
    operation_id = "create_tenant",
    tag = "tenants",
    request_body = NewTenant,
    responses(
        (status = 201, description = "The tenant.", body = TenantView),
        (status = 409, description = "`name_taken`."),
        (status = 422, description = "Every field that cannot be used."),
    ),
    security(("key" = []))
)]
pub(super) async fn create(
    State(admin): State<Admin>,
    State(mint): State<Mint>,
    _: Operator,
    document: Document,
) -> Result<Response, Error> {
    let (name, changes) = document.read(|fields| (read_name(fields), read_limits(fields)))?;
    let limits = TenantLimits::default().with(&changes);
    let id = TenantId::from_uuid(mint.uuid());
    bounded(admin.store.create_limited_tenant(id, &name, &limits)).await?;
    let tenant = admin.tenant(&id.to_string()).await?;
    tracing::info!(tenant = %id, "an operator made a tenant");
    Ok((StatusCode::CREATED, Json(view(tenant, None))).into_response())
}

/// Show a tenant.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants/{tenant}",
    operation_id = "show_tenant",
    tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id or name.")),
    responses(
        (status = 200, description = "The tenant.", body = TenantView),
        (status = 404, description = "No such tenant."),
    ),
    security(("key" = []))
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    _: Observer,
    Named(tenant): Named,
) -> Result<Json<TenantView>, Error> {
    let tenant = admin.tenant(&tenant).await?;
    let unfinished = bounded(admin.store.unfinished(tenant.id)).await?;
    Ok(Json(view(tenant, Some(unfinished))))
}

/// Change limits of a tenant.
///
/// They hold within a second, for what comes after: nothing that was accepted is taken back.
#[utoipa::path(
    patch,
    path = "/admin/v1/tenants/{tenant}",
    operation_id = "update_tenant",
    tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id or name.")),
    request_body = Option<TenantChanges>,
    responses(
        (status = 200, description = "The tenant with the limits it has now.", body = TenantView),
        (status = 404, description = "No such tenant."),
        (status = 422, description = "Every field that cannot be used."),
    ),
    security(("key" = []))
)]
pub(super) async fn update(
    State(admin): State<Admin>,
    _: Operator,
    Named(tenant): Named,
    document: Document,
) -> Result<Json<TenantView>, Error> {
    let changes = document.read(read_limits)?;
    let id = admin.tenant(&tenant).await?.id;
    let tenant = bounded(admin.store.change_limits(id, &changes)).await?;
    tracing::info!(tenant = %id, limits = ?tenant.limits, "an operator changed limits");
    Ok(Json(view(tenant, None)))
}

impl Admin {
    /// The tenant of that name or id.
    pub(super) async fn tenant(&self, name_or_id: &str) -> Result<Tenant, Error> {
        // Postgres cannot compare with a text that holds U+0000.
        if name_or_id.contains('\0') {
            return Err(Error::NotFound("tenant"));
        }
        bounded(self.store.tenant(name_or_id)).await?.ok_or(Error::NotFound("tenant"))
    }
}

fn read_limits(fields: &mut Fields<'_, '_>) -> LimitChanges {
    let most = u64::from(i32::MAX.unsigned_abs());
    let mut limit = |name, least| {
        let lifted = fields.is_null(name).then_some(None);
        let number = fields.integer(name, least..=most).and_then(|number| u32::try_from(number).ok());
        number.map(Some).or(lifted)
    };
    LimitChanges {
        max_queued: limit("max_queued", 0),
        max_running: limit("max_running", 0),
        requests_per_minute: limit("requests_per_minute", 1),
        max_daily_cost: read_cost(fields),
    }
}

fn read_cost(fields: &mut Fields<'_, '_>) -> Option<Option<Decimal>> {
    const NAME: &str = "max_daily_cost";
    let lifted = fields.is_null(NAME).then_some(None);
    let Some(value) = fields.take(NAME) else { return lifted };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let cost = text.parse::<Decimal>().ok().filter(|cost| !cost.is_sign_negative());
    if cost.is_none() {
        fields.error(NAME, "type", "expected a decimal number of at least 0, such as \"12.50\"");
    }
    cost.map(Some)
}

fn view(tenant: Tenant, unfinished: Option<Unfinished>) -> TenantView {
    let limits = tenant.limits;
    TenantView {
        id: tenant.id.as_uuid(),
        name: tenant.name,
        created_at: Timestamp(tenant.created_at),
        limits: LimitsView {
            max_queued: limits.max_queued,
            max_running: limits.max_running,
            max_daily_cost: limits.max_daily_cost.map(|cost| cost.to_string()),
            requests_per_minute: limits.requests_per_minute,
        },
        unfinished: unfinished
            .map(|unfinished| UnfinishedView { queued: unfinished.queued, running: unfinished.running }),
    }
}
