//! API keys. This crate sees digests only.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use darkroom_jobs::{TenantId, UnknownWord};
use uuid::Uuid;

use crate::rows::At;
use crate::{Error, Store};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Submit, cancel and delete jobs; with an operator key, change things.
    Submit,
    /// Read jobs, results and usage; with an operator key, look at everything.
    Read,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 2] = [Self::Submit, Self::Read];

    /// The word in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word).ok_or_else(|| UnknownWord {
            what: "scope",
            word: word.to_owned(),
            allowed: "submit, read",
        })
    }
}

/// A key to be stored.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// UUIDv7 by which it will be revoked.
    pub id: Uuid,
    /// Owner; `None` for an operator key.
    pub tenant: Option<TenantId>,
    /// What it is for.
    pub name: String,
    /// Its visible start.
    pub prefix: String,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// How long it works, from now on; `None` for as long as nobody revokes it.
    pub lifetime: Option<Duration>,
    /// Most unfinished interactive jobs it may have at once; `None` for no limit.
    pub max_interactive: Option<u32>,
}

/// A key that takes over from another one, with the same owner, scopes and limits.
#[derive(Debug, Clone)]
pub struct Successor {
    /// UUIDv7 by which it will be revoked.
    pub id: Uuid,
    /// Its visible start.
    pub prefix: String,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// How long it works, from now on; `None` for as long as nobody revokes it.
    pub lifetime: Option<Duration>,
    /// How long the old key goes on working.
    pub overlap: Duration,
}

/// What became of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// The new key works, and the old one until this time.
    Until(DateTime<Utc>),
    /// The old key does not work any more, so nothing can take over from it.
    Stopped,
}

/// A key that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// Owner; `None` for an operator key.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Most unfinished interactive jobs it may have at once; `None` for no limit.
    pub max_interactive: Option<u32>,
    /// Most requests a minute that its tenant may make; `None` for no limit.
    pub requests_per_minute: Option<u32>,
}

/// Whether a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It does.
    Works,
    /// Somebody stopped it.
    Revoked,
    /// Its time was over.
    Expired,
}

impl KeyState {
    /// The word in lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// A key as operators see it.
#[derive(Debug, Clone)]
pub struct ListedKey {
    /// Its id.
    pub id: Uuid,
    /// Owner; `None` for an operator key.
    pub tenant: Option<TenantId>,
    /// Name of the owner.
    pub tenant_name: Option<String>,
    /// What it is for.
    pub name: String,
    /// Its visible start.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether it works, on the database's clock.
    pub state: KeyState,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was stopped.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it stops or stopped by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Most unfinished interactive jobs it may have at once; `None` for no limit.
    pub max_interactive: Option<u32>,
}

/// Whose keys to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Everybody's.
    Anybody,
    /// Those of no tenant.
    Operators,
    /// This tenant's.
    Tenant(TenantId),
}

impl Store {
    /// Stores a key.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn create_api_key(&self, key: &NewApiKey) -> Result<(), Error> {
        let scopes: Vec<String> = key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        sqlx::query!(
            "insert into api_keys (id, tenant_id, name, prefix, hash, scopes, expires_at, max_interactive)
             values ($1, $2, $3, $4, $5, $6, now() + $7::float8 * interval '1 second', $8)",
            key.id,
            key.tenant.map(TenantId::as_uuid),
            key.name,
            key.prefix,
            &key.hash[..],
            &scopes,
            key.lifetime.map(|lifetime| lifetime.as_secs_f64()),
            key.max_interactive.map(limit)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The working key with this digest: neither revoked nor expired, on the database's clock. The comparison is
    /// made by an index over digests of 256-bit random keys. Whoever times it learns at most how a digest begins,
    /// and cannot choose a key by its digest, so there is nothing to learn about a key.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, Error> {
        let row = sqlx::query!(
            r#"select k.id, k.tenant_id, k.scopes, k.max_interactive, t.requests_per_minute as "requests_per_minute?"
               from api_keys k left join tenants t on t.id = k.tenant_id
               where k.hash = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())"#,
            &hash[..]
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let at = At { table: "api_keys", id: row.id };
        let number = |column, number: Option<i32>| number.map(|n| at.integer(column, n)).transpose();
        let scopes = row.scopes.iter().map(|scope| scope.parse()).collect::<Result<_, _>>();
        Ok(Some(ApiKey {
            id: row.id,
            tenant: row.tenant_id.map(TenantId::from_uuid),
            scopes: scopes.map_err(|error| Error::bad_row("api_keys", "scopes", row.id, error))?,
            max_interactive: number("max_interactive", row.max_interactive)?,
            requests_per_minute: number("requests_per_minute", row.requests_per_minute)?,
        }))
    }

    /// Keys, oldest first.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn api_keys(&self, owner: Owner) -> Result<Vec<ListedKey>, Error> {
        let tenant = if let Owner::Tenant(tenant) = owner { Some(tenant.as_uuid()) } else { None };
        let rows = sqlx::query!(
            r#"select k.id, k.tenant_id, t.name as "tenant_name?", k.name, k.prefix, k.scopes, k.created_at,
                      k.revoked_at, k.expires_at, k.max_interactive, k.expires_at <= now() as "expired?"
               from api_keys k left join tenants t on t.id = k.tenant_id
               where ($1::uuid is null or k.tenant_id = $1) and (not $2 or k.tenant_id is null)
               order by k.id"#,
            tenant,
            owner == Owner::Operators
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let at = At { table: "api_keys", id: row.id };
                Ok(ListedKey {
                    id: row.id,
                    tenant: row.tenant_id.map(TenantId::from_uuid),
                    tenant_name: row.tenant_name,
                    name: row.name,
                    prefix: row.prefix,
                    scopes: row.scopes,
                    state: match (row.revoked_at, row.expired) {
                        (Some(_), _) => KeyState::Revoked,
                        (None, Some(true)) => KeyState::Expired,
                        (None, _) => KeyState::Works,
                    },
                    created_at: row.created_at,
                    revoked_at: row.revoked_at,
                    expires_at: row.expires_at,
                    max_interactive: row
                        .max_interactive
                        .map(|most| at.integer("max_interactive", most))
                        .transpose()?,
                })
            })
            .collect()
    }

    /// Makes a key that takes over from `old`, and lets `old` expire after the overlap, or earlier where that was
    /// decided before.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such key.
    pub async fn rotate_api_key(&self, old: Uuid, new: &Successor) -> Result<Rotated, Error> {
        let until = sqlx::query_scalar!(
            r#"
            with old as (
                update api_keys set expires_at = least(expires_at, now() + $5::float8 * interval '1 second')
                where id = $1 and revoked_at is null and (expires_at is null or expires_at > now())
                returning tenant_id, name, scopes, max_interactive, expires_at
            ), new as (
                insert into api_keys (id, tenant_id, name, prefix, hash, scopes, max_interactive, expires_at)
                select $2, tenant_id, name, $3, $4, scopes, max_interactive, now() + $6::float8 * interval '1 second'
                from old
            )
            select expires_at as "expires_at!" from old
            "#,
            old,
            new.id,
            new.prefix,
            &new.hash[..],
            new.overlap.as_secs_f64(),
            new.lifetime.map(|lifetime| lifetime.as_secs_f64())
        )
        .fetch_optional(&self.pool)
        .await?;
        if let Some(until) = until {
            return Ok(Rotated::Until(until));
        }
        let found = sqlx::query_scalar!("select id from api_keys where id = $1", old);
        let found = found.fetch_optional(&self.pool).await?;
        found.map(|_| Rotated::Stopped).ok_or_else(|| missing(old))
    }

    /// Makes a key stop working. Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such key.
    pub async fn revoke_api_key(&self, id: Uuid) -> Result<(), Error> {
        let revoked =
            sqlx::query!("update api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1", id)
                .execute(&self.pool)
                .await?;
        if revoked.rows_affected() == 0 { Err(missing(id)) } else { Ok(()) }
    }
}

fn missing(id: Uuid) -> Error {
    Error::Missing { what: "api key", name: id.to_string() }
}

/// A limit as the database has it: more than it can hold is no limit that anybody reaches.
pub(crate) fn limit(most: u32) -> i32 {
    i32::try_from(most).unwrap_or(i32::MAX)
}
