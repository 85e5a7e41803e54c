//! API keys. This crate sees digests only.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use darkroom_jobs::{TenantId, UnknownWord};
use uuid::Uuid;

use crate::rows::At;
use crate::{Error, Store};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Submit, cancel and delete jobs.
    Submit,
    /// Read jobs, results and usage.
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
}

/// A key as operators see it.
#[derive(Debug, Clone)]
pub struct ListedKey {
    /// Its id.
    pub id: Uuid,
    /// Name of the owner; `None` for an operator key.
    pub tenant: Option<String>,
    /// What it is for.
    pub name: String,
    /// Its visible start.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stopped working.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Stores a key.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn create_api_key(&self, key: &NewApiKey) -> Result<(), Error> {
        let scopes: Vec<String> = key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        sqlx::query!(
            "insert into api_keys (id, tenant_id, name, prefix, hash, scopes) values ($1, $2, $3, $4, $5, $6)",
            key.id,
            key.tenant.map(TenantId::as_uuid),
            key.name,
            key.prefix,
            &key.hash[..],
            &scopes
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The working key with this digest: neither revoked nor expired, on the database's clock. The comparison is made by an index over digests of 256-bit random
    /// keys, so its timing tells nothing about a key.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, Error> {
        let row = sqlx::query!(
            "select id, tenant_id, scopes, max_interactive from api_keys
             where hash = $1 and revoked_at is null and (expires_at is null or expires_at > now())",
            &hash[..]
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let at = At { table: "api_keys", id: row.id };
            let max_interactive = row.max_interactive.map(|most| at.integer("max_interactive", most));
            let scopes = row.scopes.iter().map(|scope| scope.parse()).collect::<Result<_, _>>();
            Ok(ApiKey {
                id: row.id,
                tenant: row.tenant_id.map(TenantId::from_uuid),
                scopes: scopes.map_err(|error| Error::bad_row("api_keys", "scopes", row.id, error))?,
                max_interactive: max_interactive.transpose()?,
            })
        })
        .transpose()
    }

    /// Every key, oldest first.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn api_keys(&self) -> Result<Vec<ListedKey>, Error> {
        let rows = sqlx::query_as!(
            ListedKey,
            r#"select k.id, t.name as "tenant?", k.name, k.prefix, k.scopes, k.created_at, k.revoked_at
               from api_keys k left join tenants t on t.id = k.tenant_id order by k.id"#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
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
        if revoked.rows_affected() == 0 {
            return Err(Error::Missing { what: "api key", name: id.to_string() });
        }
        Ok(())
    }
}
