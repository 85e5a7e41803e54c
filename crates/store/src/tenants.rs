//! Tenants.

use chrono::{DateTime, Utc};
use darkroom_jobs::TenantId;

use crate::{Error, Store};

/// Owner of API keys, jobs, limits and usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Name operators use.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl Store {
    /// Makes a tenant.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name is taken.
    pub async fn create_tenant(&self, id: TenantId, name: &str) -> Result<(), Error> {
        let made = sqlx::query!(
            "insert into tenants (id, name) values ($1, $2) on conflict (name) do nothing",
            id.as_uuid(),
            name
        )
        .execute(&self.pool)
        .await?;
        if made.rows_affected() == 0 {
            return Err(Error::Exists { what: "tenant", name: name.to_owned() });
        }
        Ok(())
    }

    /// Every tenant, oldest first.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        let rows = sqlx::query!("select id, name, created_at from tenants order by id")
            .fetch_all(&self.pool)
            .await?;
        let tenant = |id, name, created_at| Tenant { id: TenantId::from_uuid(id), name, created_at };
        Ok(rows.into_iter().map(|row| tenant(row.id, row.name, row.created_at)).collect())
    }

    /// The tenant of that name.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none.
    pub async fn tenant_named(&self, name: &str) -> Result<TenantId, Error> {
        sqlx::query_scalar!("select id from tenants where name = $1", name)
            .fetch_optional(&self.pool)
            .await?
            .map(TenantId::from_uuid)
            .ok_or_else(|| Error::Missing { what: "tenant", name: name.to_owned() })
    }
}
