//! API keys: made, taken over from, stopped.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use darkroom_jobs::Fields;
use darkroom_store::{ListedKey, NewApiKey, Owner, Rotated, Scope, Successor};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::document::{Document, read_name};
use super::{Admin, Named};
use crate::auth::{Observer, Operator};
use crate::deadline::bounded;
use crate::jobs::resource::Timestamp;
use crate::key::FreshKey;
use crate::mint::Mint;
use crate::{Error, ProblemField, query};

/// Nobody on the way keeps a key.
const NOT_KEPT: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];
/// How long the old key of a rotation goes on working unless it is said.
const DEFAULT_OVERLAP_SECONDS: u64 = 24 * 3600;
/// Ten years.
const MAX_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// A key; what it opens with is known to its owner alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyView {
    /// Its id.
    id: Uuid,
    /// Owner; null for an operator's key.
    tenant_id: Option<Uuid>,
    /// Name of the owner.
    tenant: Option<String>,
    /// What it is for.
    name: String,
    /// Its visible start.
    #[schema(example = "dk_0a1b2c3d")]
    prefix: String,
    /// What it may do: `submit`, `read`. Of an operator's key: change things, look at them.
    scopes: Vec<String>,
    /// `works`, `revoked` or `expired`.
    #[schema(example = "works")]
    state: &'static str,
    /// Most unfinished interactive jobs it may have at once; null for no limit.
    max_interactive: Option<u32>,
    /// When it was made.
    created_at: Timestamp,
    /// When it stops or stopped by itself.
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
}

/// Keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKeyList)]
pub(crate) struct KeyList {
    /// The keys, oldest first.
    keys: Vec<KeyView>,
}

/// A key to be made.
#[derive(Debug, ToSchema)]
#[schema(as = NewApiKey)]
#[expect(dead_code, reason = "describes what `read_key` reads")]
pub(crate) struct NewKey {
    /// Id or name of the tenant it belongs to; null for an operator's key.
    tenant: Option<String>,
    /// What it is for, 1 to 100 characters.
    name: String,
    /// What it may do, `submit` and `read` unless it is said.
    scopes: Option<Vec<String>>,
    /// How long it works; for as long as nobody revokes it unless given.
    #[schema(minimum = 1, maximum = 315_360_000)]
    lifetime_seconds: Option<u64>,
    /// Most unfinished interactive jobs it has at once; no limit unless given.
    max_interactive: Option<u32>,
}

/// How a key is taken over from.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what `read_rotation` reads")]
pub(crate) struct Rotation {
    /// How long the old key goes on working, a day unless it is said.
    #[schema(minimum = 0, maximum = 315_360_000)]
    overlap_seconds: Option<u64>,
    /// How long the new key works; for as long as nobody revokes it unless given.
    #[schema(minimum = 1, maximum = 315_360_000)]
    lifetime_seconds: Option<u64>,
}

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeApiKey)]
pub(crate) struct MadeKey {
    /// Its id.
    id: Uuid,
    /// The key. It is shown this once.
    #[schema(example = "dk_…")]
    key: String,
    /// When the key that it takes over from stops working; null where there is none.
    old_expires_at: Option<Timestamp>,
}

/// List the keys.
#[utoipa::path(
    get,
    path = "/admin/v1/keys",
    operation_id = "list_keys",
    tag = "keys",
    params(("tenant" = Option<String>, Query, description = "Only keys of the tenant with this id or name.")),
    responses(
        (status = 200, description = "The keys.", body = KeyList),
        (status = 404, description = "No such tenant."),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(super) async fn list(
    State(admin): State<Admin>,
    _: Observer,
    RawQuery(query): RawQuery,
) -> Result<Json<KeyList>, Error> {
    let mut tenant = None;
    let errors = query::read(query.as_deref().unwrap_or_default(), |name, value| match name {
        "tenant" => {
            tenant = Some(value.to_owned());
            Ok(())
        }
        _ => Err(query::unknown(name, &["tenant"])),
    });
    if !errors.is_empty() {
        return Err(Error::Fields(errors));
    }
    let owner = match tenant {
        Some(tenant) => Owner::Tenant(admin.tenant(&tenant).await?.id),
        None => Owner::Anybody,
    };
    let keys = bounded(admin.store.api_keys(owner)).await?;
    Ok(Json(KeyList { keys: keys.into_iter().map(KeyView::from).collect() }))
}

/// Make a key.
///
/// Repeating a request whose answer was lost makes another key: revoke the one that nobody has.
#[utoipa::path(
    post,
    path = "/admin/v1/keys",
    operation_id = "create_key",
    tag = "keys",
    request_body = NewKey,
    responses(
        (status = 201, description = "The key, which is shown this once.", body = MadeKey),
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
    let wanted = document.read(read_key)?;
    let tenant = match &wanted.tenant {
        Some(tenant) => Some(admin.tenant(tenant).await.map_err(unknown_tenant)?.id),
        None => None,
    };
    let fresh = FreshKey::draw(&mint);
    let new = NewApiKey {
        id: fresh.id,
        tenant,
        name: wanted.name,
        prefix: fresh.prefix,
        hash: fresh.hash,
        scopes: wanted.scopes,
        lifetime: wanted.lifetime,
        max_interactive: wanted.max_interactive,
    };
    bounded(admin.store.create_api_key(&new)).await?;
    tracing::info!(key = %fresh.id, "an operator made a key");
    let made = MadeKey { id: fresh.id, key: fresh.text, old_expires_at: None };
    Ok((StatusCode::CREATED, NOT_KEPT, Json(made)).into_response())
}

/// Make a key that takes over from another one.
///
/// It has the same tenant, name, scopes and limits. The old one goes on working for a while, so that nothing stops.
#[utoipa::path(
    post,
    path = "/admin/v1/keys/{id}/rotate",
    operation_id = "rotate_key",
    tag = "keys",
    params(("id" = uuid::Uuid, Path, description = "The old key's id.")),
    request_body = Option<Rotation>,
    responses(
        (status = 201, description = "The new key, which is shown this once.", body = MadeKey),
        (status = 404, description = "No such key."),
        (status = 409, description = "`key_stopped`: it does not work any more."),
        (status = 422, description = "Every field that cannot be used."),
    ),
    security(("key" = []))
)]
pub(super) async fn rotate(
    State(admin): State<Admin>,
    State(mint): State<Mint>,
    _: Operator,
    id: Named,
    document: Document,
) -> Result<Response, Error> {
    let id = id.uuid("key")?;
    let (overlap, lifetime) = document.read(read_rotation)?;
    let fresh = FreshKey::draw(&mint);
    let new = Successor { id: fresh.id, prefix: fresh.prefix, hash: fresh.hash, lifetime, overlap };
    match bounded(admin.store.rotate_api_key(id, &new)).await? {
        Rotated::Stopped => Err(Error::KeyStopped),
        Rotated::Until(until) => {
            tracing::info!(key = %id, by = %fresh.id, "an operator rotated a key");
            let made = MadeKey { id: fresh.id, key: fresh.text, old_expires_at: Some(Timestamp(until)) };
            Ok((StatusCode::CREATED, NOT_KEPT, Json(made)).into_response())
        }
    }
}

/// Stop a key.
///
/// It works nowhere after a second at most. Stopping it again changes nothing.
#[utoipa::path(
    post,
    path = "/admin/v1/keys/{id}/revoke",
    operation_id = "revoke_key",
    tag = "keys",
    params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses(
        (status = 204, description = "It is stopped."),
        (status = 404, description = "No such key."),
    ),
    security(("key" = []))
)]
pub(super) async fn revoke(State(admin): State<Admin>, _: Operator, id: Named) -> Result<StatusCode, Error> {
    let id = id.uuid("key")?;
    bounded(admin.store.revoke_api_key(id)).await?;
    tracing::info!(key = %id, "an operator revoked a key");
    Ok(StatusCode::NO_CONTENT)
}

/// A key as it was asked for.
struct Wanted {
    tenant: Option<String>,
    name: String,
    scopes: Vec<Scope>,
    lifetime: Option<Duration>,
    max_interactive: Option<u32>,
}

fn read_key(fields: &mut Fields<'_, '_>) -> Wanted {
    Wanted {
        tenant: fields.string("tenant").map(str::to_owned),
        name: read_name(fields),
        scopes: read_scopes(fields),
        lifetime: fields.integer("lifetime_seconds", 1..=MAX_SECONDS).map(Duration::from_secs),
        max_interactive: fields.small("max_interactive", 0..=i32::MAX.unsigned_abs()),
    }
}

fn read_scopes(fields: &mut Fields<'_, '_>) -> Vec<Scope> {
    const EXPECTED: &str = "expected a list of submit, read";
    let Some(value) = fields.take("scopes") else { return Scope::ALL.to_vec() };
    let words = value.as_array().filter(|words| !words.is_empty());
    let scope = |word: &Value| word.as_str().and_then(|word| word.parse().ok());
    let scopes = words.and_then(|words| words.iter().map(scope).collect::<Option<Vec<Scope>>>());
    scopes.unwrap_or_else(|| {
        fields.error("scopes", "choice", EXPECTED);
        Vec::new()
    })
}

fn read_rotation(fields: &mut Fields<'_, '_>) -> (Duration, Option<Duration>) {
    let overlap = fields.integer("overlap_seconds", 0..=MAX_SECONDS).unwrap_or(DEFAULT_OVERLAP_SECONDS);
    let lifetime = fields.integer("lifetime_seconds", 1..=MAX_SECONDS);
    (Duration::from_secs(overlap), lifetime.map(Duration::from_secs))
}

fn unknown_tenant(error: Error) -> Error {
    match error {
        Error::NotFound(_) => {
            let detail = "there is no such tenant";
            Error::Fields(vec![ProblemField::pointer("/tenant", "unknown", detail)])
        }
        error => error,
    }
}

impl From<ListedKey> for KeyView {
    fn from(key: ListedKey) -> Self {
        Self {
            id: key.id,
            tenant_id: key.tenant.map(darkroom_jobs::TenantId::as_uuid),
            tenant: key.tenant_name,
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            state: key.state.as_str(),
            max_interactive: key.max_interactive,
            created_at: Timestamp(key.created_at),
            expires_at: key.expires_at.map(Timestamp),
            revoked_at: key.revoked_at.map(Timestamp),
        }
    }
}
