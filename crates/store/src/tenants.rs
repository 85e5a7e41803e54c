//! Tenants and their limits.

use chrono::{DateTime, Utc};
use darkroom_jobs::TenantId;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::keys::limit;
use crate::rows::At;
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
    /// What it may have at once.
    pub limits: TenantLimits,
}

/// Limits of a tenant; `None` for no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Most queued jobs at once.
    pub max_queued: Option<u32>,
    /// Most running jobs at once.
    pub max_running: Option<u32>,
    /// Most that the jobs of one UTC day may cost.
    pub max_daily_cost: Option<Decimal>,
    /// Most requests a minute to one API process; at least 1.
    pub requests_per_minute: Option<u32>,
}

/// Limits to be changed: of each, `None` leaves it, `Some(None)` lifts it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitChanges {
    /// Most queued jobs at once.
    pub max_queued: Option<Option<u32>>,
    /// Most running jobs at once.
    pub max_running: Option<Option<u32>>,
    /// Most that the jobs of one UTC day may cost.
    pub max_daily_cost: Option<Option<Decimal>>,
    /// Most requests a minute to one API process; at least 1.
    pub requests_per_minute: Option<Option<u32>>,
}

impl TenantLimits {
    /// These limits after the changes.
    pub fn with(self, changes: &LimitChanges) -> Self {
        Self {
            max_queued: changes.max_queued.unwrap_or(self.max_queued),
            max_running: changes.max_running.unwrap_or(self.max_running),
            max_daily_cost: changes.max_daily_cost.unwrap_or(self.max_daily_cost),
            requests_per_minute: changes.requests_per_minute.unwrap_or(self.requests_per_minute),
        }
    }
}

/// Jobs of a tenant that are not final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// Those that wait.
    pub queued: u64,
    /// Those that run.
    pub running: u64,
}

struct TenantRow {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    max_queued: Option<i32>,
    max_running: Option<i32>,
    max_daily_cost: Option<Decimal>,
    requests_per_minute: Option<i32>,
}

impl TryFrom<TenantRow> for Tenant {
    type Error = Error;

    fn try_from(row: TenantRow) -> Result<Self, Error> {
        let at = At { table: "tenants", id: row.id };
        let number = |column, number: Option<i32>| number.map(|n| at.integer(column, n)).transpose();
        Ok(Self {
            id: TenantId::from_uuid(row.id),
            name: row.name,
            created_at: row.created_at,
            limits: TenantLimits {
                max_queued: number("max_queued", row.max_queued)?,
                max_running: number("max_running", row.max_running)?,
                max_daily_cost: row.max_daily_cost.map(|cost| cost.normalize()),
                requests_per_minute: number("requests_per_minute", row.requests_per_minute)?,
            },
        })
    }
}

impl Store {
    /// Makes a tenant.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name is taken.
    pub async fn create_tenant(&self, id: TenantId, name: &str) -> Result<(), Error> {
        self.create_limited_tenant(id, name, &TenantLimits::default()).await
    }

    /// Makes a tenant with limits.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name is taken.
    pub async fn create_limited_tenant(
        &self,
        id: TenantId,
        name: &str,
        limits: &TenantLimits,
    ) -> Result<(), Error> {
        let made = sqlx::query!(
            "insert into tenants (id, name, max_queued, max_running, max_daily_cost, requests_per_minute)
             values ($1, $2, $3, $4, $5, $6) on conflict (name) do nothing",
            id.as_uuid(),
            name,
            limits.max_queued.map(limit),
            limits.max_running.map(limit),
            limits.max_daily_cost,
            limits.requests_per_minute.map(limit)
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
        let rows = sqlx::query_as!(
            TenantRow,
            "select id, name, created_at, max_queued, max_running, max_daily_cost, requests_per_minute
             from tenants order by id"
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Tenant::try_from).collect()
    }

    /// The tenant of that name, or with that id: a tenant that is named like another one's id is found by its own
    /// id only.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn tenant(&self, name_or_id: &str) -> Result<Option<Tenant>, Error> {
        let row = sqlx::query_as!(
            TenantRow,
            "select id, name, created_at, max_queued, max_running, max_daily_cost, requests_per_minute
             from tenants where id = $1 or name = $2 order by id = $1 desc limit 1",
            name_or_id.parse::<Uuid>().ok(),
            name_or_id
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Tenant::try_from).transpose()
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

    /// Changes limits, and returns the tenant with those it has now. They hold for what comes after: nothing that
    /// was accepted is taken back.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such tenant.
    pub async fn change_limits(&self, id: TenantId, changes: &LimitChanges) -> Result<Tenant, Error> {
        let row = sqlx::query_as!(
            TenantRow,
            "update tenants
             set max_queued = case when $2 then $3 else max_queued end,
                 max_running = case when $4 then $5 else max_running end,
                 max_daily_cost = case when $6 then $7 else max_daily_cost end,
                 requests_per_minute = case when $8 then $9 else requests_per_minute end
             where id = $1
             returning id, name, created_at, max_queued, max_running, max_daily_cost, requests_per_minute",
            id.as_uuid(),
            changes.max_queued.is_some(),
            changes.max_queued.flatten().map(limit),
            changes.max_running.is_some(),
            changes.max_running.flatten().map(limit),
            changes.max_daily_cost.is_some(),
            changes.max_daily_cost.flatten(),
            changes.requests_per_minute.is_some(),
            changes.requests_per_minute.flatten().map(limit)
        )
        .fetch_optional(&self.pool)
        .await?;
        row.ok_or_else(|| Error::Missing { what: "tenant", name: id.to_string() })?.try_into()
    }

    /// How many jobs of a tenant wait and run at this moment.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn unfinished(&self, tenant: TenantId) -> Result<Unfinished, Error> {
        let row = sqlx::query!(
            r#"select (select count(*) from jobs where state = 'queued' and tenant_id = $1) as "queued!",
                      (select count(*) from jobs where state = 'running' and tenant_id = $1) as "running!""#,
            tenant.as_uuid()
        )
        .fetch_one(&self.pool)
        .await?;
        let at = At { table: "jobs", id: tenant };
        Ok(Unfinished {
            queued: at.integer("state", row.queued)?,
            running: at.integer("state", row.running)?,
        })
    }
}
