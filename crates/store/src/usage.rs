//! What tenants used and what it cost, by day.
//!
//! A job counts for the UTC day on which it ended, by this database's clock. Days that are over are rolled up into
//! `usage_daily`, one after another; the days since are computed from `jobs`. The view `job_usage` is the one
//! definition of both, so an answer does not change when its days are rolled up.

use std::time::Duration;

use chrono::NaiveDate;
use darkroom_jobs::{Lane, TenantId};
use rust_decimal::Decimal;

use crate::rows::At;
use crate::{Error, Store};

/// A little more than the server's own limit for it.
const ROLL_UP_DEADLINE: Duration = Duration::from_secs(65);

/// What a tenant used in one lane on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyUsage {
    /// UTC day on which the jobs ended.
    pub day: NaiveDate,
    /// Their lane.
    pub lane: Lane,
    /// Their currency.
    pub currency: String,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that were canceled.
    pub canceled: u64,
    /// Jobs that expired.
    pub expired: u64,
    /// Results of the jobs that succeeded.
    pub artifacts: u64,
    /// Billed pixels of the jobs that succeeded.
    pub units: u64,
    /// What the jobs that succeeded did cost.
    pub cost: Decimal,
}

/// A day that was rolled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolledUp {
    /// The day.
    pub day: NaiveDate,
    /// Rows it has in `usage_daily`, of all tenants.
    pub rows: u64,
}

impl Store {
    /// How long after its end a day is rolled up. A job's end is dated to the beginning of its transaction, and may
    /// be committed after midnight: never by so much, with the time-outs that our connections have.
    const ROLL_UP_AFTER_SECONDS: f64 = 3600.0;

    /// Rolls up the next day that is over; `None` when there is none, or when another dispatcher is at it. A day is
    /// rolled up once: its rows and the mark behind it are committed together.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn roll_up_day(&self) -> Result<Option<RolledUp>, Error> {
        let mut transaction = self.pool.begin_long(ROLL_UP_DEADLINE).await?;
        // Once a day, and over all of its jobs.
        sqlx::query!("set local statement_timeout = '60s'").execute(&mut transaction).await?;
        let day = sqlx::query_scalar!(
            r#"
            update usage_mark set rolled_through = rolled_through + 1
            where id = (
                select id from usage_mark
                where (rolled_through + 2)::timestamp at time zone 'UTC' <= now() - $1 * interval '1 second'
                -- Two dispatchers do not wait for one another.
                for update skip locked
            )
            returning rolled_through
            "#,
            Self::ROLL_UP_AFTER_SECONDS
        )
        .fetch_optional(&mut transaction)
        .await?;
        let Some(day) = day else {
            transaction.roll_back().await?;
            return Ok(None);
        };
        let rolled = sqlx::query!(
            "insert into usage_daily (tenant_id, day, lane, currency, succeeded, failed, canceled, expired, artifacts,
                                      units, cost)
             select tenant_id, day, lane, currency, succeeded, failed, canceled, expired, artifacts, units, cost
             from job_usage where day = $1",
            day
        )
        .execute(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok(Some(RolledUp { day, rows: rolled.rows_affected() }))
    }

    /// How many days are computed from jobs, today included: 1, or 2 shortly after midnight, while days are rolled
    /// up in time.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn days_not_rolled_up(&self) -> Result<i32, Error> {
        let days = sqlx::query_scalar!(
            r#"select (now() at time zone 'UTC')::date - rolled_through as "days!" from usage_mark"#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(days)
    }

    /// What a tenant used from one day to another, both included: by day, then lane, then currency.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn usage(
        &self,
        tenant: TenantId,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<DailyUsage>, Error> {
        // One statement sees the mark and the rows behind it as of one moment, so no day counts twice or not at all.
        sqlx::query!(
            r#"
            select day as "day!", lane as "lane!", currency as "currency!", succeeded as "succeeded!",
                   failed as "failed!", canceled as "canceled!", expired as "expired!", artifacts as "artifacts!",
                   units as "units!", cost as "cost!"
            from (
                select tenant_id, day, lane, currency, succeeded, failed, canceled, expired, artifacts, units, cost
                from usage_daily
                union all
                select tenant_id, day, lane, currency, succeeded, failed, canceled, expired, artifacts, units, cost
                from job_usage where day > (select rolled_through from usage_mark)
            ) usage
            where tenant_id = $1 and day between $2 and $3
            order by day, lane collate "C", currency
            "#,
            tenant.as_uuid(),
            from,
            to
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(|row| {
            let at = At { table: "usage_daily", id: row.day };
            Ok(DailyUsage {
                day: row.day,
                lane: at.word("lane", &row.lane)?,
                currency: row.currency,
                succeeded: at.integer("succeeded", row.succeeded)?,
                failed: at.integer("failed", row.failed)?,
                canceled: at.integer("canceled", row.canceled)?,
                expired: at.integer("expired", row.expired)?,
                artifacts: at.integer("artifacts", row.artifacts)?,
                units: at.integer("units", row.units)?,
                cost: row.cost.normalize(),
            })
        })
        .collect()
    }
}
