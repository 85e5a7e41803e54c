//! Who asks. Keys are checked before a body is read, and so is how many requests their tenant may make.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, request::Parts};
use darkroom_jobs::TenantId;
use darkroom_store::{ApiKey, Scope, Store};
use moka::future::Cache;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Error;
use crate::deadline::bounded;
use crate::rates::{Rates, Told};

/// How long what the database said about a key counts: a key that is revoked, and a limit that is changed, is heard
/// of within a second, whatever becomes of notifications. A key in use costs two look-ups a second, each of a row by
/// a unique index.
const FRESH: Duration = Duration::from_millis(500);
/// Keys kept in memory. Only working ones are, so guessing fills nothing.
const CACHED_KEYS: u64 = 10_000;

/// The keys that work.
#[derive(Debug, Clone)]
pub struct Keys {
    store: Store,
    cache: Cache<[u8; 32], Known>,
    rates: Rates,
}

/// What the database said about a key.
#[derive(Debug, Clone)]
struct Known {
    key: ApiKey,
    /// When it was asked: a slow answer may be old when it comes.
    asked: Instant,
}

impl Keys {
    /// The keys in `store`.
    pub fn new(store: Store) -> Self {
        let cache = Cache::builder().max_capacity(CACHED_KEYS).time_to_live(FRESH).build();
        Self { store, cache, rates: Rates::default() }
    }

    /// The tenant's key that the request names, if it may do `scope` and the tenant may make another request.
    async fn tenant_key(&self, parts: &Parts, scope: Scope) -> Result<TenantKey, Error> {
        let key = self.find(bearer(&parts.headers).ok_or(Error::Unauthorized)?).await?;
        let tenant = key.tenant.ok_or(Error::OperatorKey)?;
        tracing::Span::current().record("tenant", tracing::field::display(tenant));
        if let Some(per_minute) = key.requests_per_minute.and_then(NonZeroU32::new) {
            self.rates.count(tenant, per_minute, parts.extensions.get::<Told>()).await?;
        }
        permit(&key, scope)?;
        Ok(TenantKey { id: key.id, tenant, max_interactive: key.max_interactive })
    }

    /// Whether the request names an operator's key that may do `scope`.
    async fn operator_key(&self, parts: &Parts, scope: Scope) -> Result<(), Error> {
        let key = self.find(bearer(&parts.headers).ok_or(Error::Unauthorized)?).await?;
        if key.tenant.is_some() {
            return Err(Error::TenantKey);
        }
        tracing::Span::current().record("operator", tracing::field::display(key.id));
        permit(&key, scope)
    }

    async fn find(&self, key: &str) -> Result<ApiKey, Error> {
        let digest: [u8; 32] = Sha256::digest(key).into();
        if let Some(known) = self.cache.get(&digest).await
            && known.asked.elapsed() < FRESH
        {
            return Ok(known.key);
        }
        let asked = Instant::now();
        let Some(key) = bounded(self.store.api_key(&digest)).await? else {
            self.cache.invalidate(&digest).await;
            return Err(Error::Unauthorized);
        };
        self.cache.insert(digest, Known { key: key.clone(), asked }).await;
        Ok(key)
    }
}

fn permit(key: &ApiKey, scope: Scope) -> Result<(), Error> {
    if key.scopes.contains(&scope) { Ok(()) } else { Err(Error::MissingScope(scope)) }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// A tenant's key, and what holds for requests with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantKey {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: TenantId,
    /// Most unfinished interactive jobs it may have at once; `None` for no limit.
    pub max_interactive: Option<u32>,
}

/// A tenant's key that may submit, cancel and delete jobs.
#[derive(Debug, Clone, Copy)]
pub struct Submitter(pub TenantKey);

/// A tenant whose key may read jobs, models and usage.
#[derive(Debug, Clone, Copy)]
pub struct Reader(pub TenantId);

/// An operator whose key may look at everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observer;

/// An operator whose key may change things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operator;

impl<S> FromRequestParts<S> for Submitter
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Keys::from_ref(state).tenant_key(parts, Scope::Submit).await.map(Self)
    }
}

impl<S> FromRequestParts<S> for Reader
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Keys::from_ref(state).tenant_key(parts, Scope::Read).await.map(|key| Self(key.tenant))
    }
}

impl<S> FromRequestParts<S> for Observer
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Keys::from_ref(state).operator_key(parts, Scope::Read).await.map(|()| Self)
    }
}

impl<S> FromRequestParts<S> for Operator
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Keys::from_ref(state).operator_key(parts, Scope::Submit).await.map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        let read = |value: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read("Bearer dk_1").as_deref(), Some("dk_1"));
        assert_eq!(read("bearer  dk_1").as_deref(), Some("dk_1"));
        for other in ["dk_1", "Key dk_1", "Basic ZGtfMTo=", "Bearer"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
