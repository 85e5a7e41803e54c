//! What callers have already: asked before another job of theirs is accepted.

use darkroom_jobs::TenantId;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{Error, Store};

/// What a tenant's jobs have cost that ended today.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// The sum.
    pub cost: Decimal,
    /// Until the next UTC day, in seconds.
    pub day_ends_in_s: f64,
}

impl Store {
    /// How many unfinished jobs of class interactive a key has.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn interactive_jobs(&self, api_key: Uuid) -> Result<i64, Error> {
        let jobs = sqlx::query_scalar!(
            r#"select count(*) as "jobs!" from jobs
               where api_key_id = $1 and class = 0 and state in ('queued', 'running')"#,
            api_key
        );
        Ok(jobs.fetch_one(&self.pool).await?)
    }

    /// What a tenant's jobs have cost that ended on this UTC day. Reads each of them: 25 ms for 100,000.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn spent_today(&self, tenant: TenantId) -> Result<Spent, Error> {
        let row = sqlx::query!(
            r#"select coalesce(sum(cost), 0) as "cost!",
                      extract(epoch from date_trunc('day', now() at time zone 'UTC') + interval '1 day'
                                         - now() at time zone 'UTC')::float8 as "day_ends_in_s!"
               from jobs
               where tenant_id = $1 and finished_at is not null
                 and (finished_at at time zone 'UTC')::date = (now() at time zone 'UTC')::date"#,
            tenant.as_uuid()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Spent { cost: row.cost, day_ends_in_s: row.day_ends_in_s })
    }
}
