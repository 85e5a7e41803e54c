//! Running failed jobs again, and putting them aside.
//!
//! A final state never changes: what runs a failed job again is a new job of the same tenant with the same request,
//! price and times, and a budget of attempts of its own. It names the failed one, which is run again at most once.

use darkroom_jobs::{FailureClass, JobId, Lane, TenantId};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::pool::Transaction;
use crate::{Error, FailedFilter, Store};

/// What became of the wish to do something with many failed jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    /// It was done with so many, and so many more match.
    Done {
        /// How many.
        done: u64,
        /// Those that match and are left.
        remaining: u64,
    },
    /// Another number of jobs matches than was expected; nothing was changed.
    Unexpected {
        /// How many match.
        matching: u64,
    },
}

/// What became of the wish to run one job again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// This new job runs it again.
    By(JobId),
    /// Its deadline has passed: nobody waits for it any more.
    Late,
    /// There is no failed job of that id, or another job runs it again already.
    No,
}

/// How many jobs a decision takes in, and how many it is carried out for at a time.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How many the operator has been told to match.
    pub expected: u64,
    /// Most in one transaction, the oldest first.
    pub limit: i64,
}

impl Store {
    /// How many failed jobs match, of which nothing was decided; those that can be run again, since their deadline
    /// has not passed, come second.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn count_failed(&self, filter: &FailedFilter) -> Result<(u64, u64), Error> {
        count(&self.pool, filter).await
    }

    /// Runs failed jobs again that match and of which nothing was decided, if there are as many as expected. `mint`
    /// makes the ids of the new jobs.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call runs no job twice.
    pub async fn replay_failed(
        &self,
        filter: &FailedFilter,
        extent: Extent,
        mut mint: impl FnMut() -> JobId,
    ) -> Result<Bulk, Error> {
        let mut transaction = self.pool.begin().await?;
        let (_, matching) = count(&mut transaction, filter).await?;
        if matching != extent.expected {
            transaction.roll_back().await?;
            return Ok(Bulk::Unexpected { matching });
        }
        let failed = pick(&mut transaction, filter, extent.limit, Still::Wanted).await?;
        let done = replay(&mut transaction, &failed, &mut mint).await?.len() as u64;
        transaction.commit().await?;
        self.pending.outbox();
        Ok(Bulk::Done { done, remaining: matching.saturating_sub(done) })
    }

    /// Puts failed jobs aside that match and of which nothing was decided, if there are as many as expected. They
    /// stay failed, for their owners and in usage.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn discard_failed(&self, filter: &FailedFilter, extent: Extent) -> Result<Bulk, Error> {
        let mut transaction = self.pool.begin().await?;
        let (matching, _) = count(&mut transaction, filter).await?;
        if matching != extent.expected {
            transaction.roll_back().await?;
            return Ok(Bulk::Unexpected { matching });
        }
        let failed = pick(&mut transaction, filter, extent.limit, Still::Any).await?;
        let done = discard(&mut transaction, &failed).await?;
        transaction.commit().await?;
        Ok(Bulk::Done { done, remaining: matching.saturating_sub(done) })
    }

    /// Runs one failed job again by the job `by`, also when it was put aside.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call does not run it twice.
    pub async fn replay_job(&self, id: JobId, by: JobId) -> Result<Replayed, Error> {
        let mut transaction = self.pool.begin().await?;
        let late = sqlx::query_scalar!(
            r#"select deadline <= now() as "late!" from jobs
               where id = $1 and state = 'failed' and deleted_at is null and swept_at is null
               for update"#,
            id.as_uuid()
        )
        .fetch_optional(&mut transaction)
        .await?;
        if late != Some(false) {
            transaction.roll_back().await?;
            return Ok(if late.is_some() { Replayed::Late } else { Replayed::No });
        }
        let made = replay(&mut transaction, &[id.as_uuid()], &mut || by).await?;
        transaction.commit().await?;
        self.pending.outbox();
        Ok(made.first().map_or(Replayed::No, |&id| Replayed::By(JobId::from_uuid(id))))
    }

    /// Puts one failed job aside. `false` when there is no failed job of that id about which nothing was decided.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn discard_job(&self, id: JobId) -> Result<bool, Error> {
        Ok(discard(&self.pool, &[id.as_uuid()]).await? > 0)
    }
}

/// Whether jobs whose deadline has passed are meant as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Still {
    Wanted,
    Any,
}

async fn count(executor: impl PgExecutor<'_>, filter: &FailedFilter) -> Result<(u64, u64), Error> {
    let row = sqlx::query!(
        r#"select count(*) as "matching!", count(*) filter (where deadline > now()) as "wanted!"
           from failed_jobs
           where ($1::uuid is null or tenant_id = $1) and ($2::text is null or lane = $2)
             and ($3::text is null or failure_class = $3 or attempt_failure_class = $3)
             and ($4::float8 is null or finished_at <= now() - $4 * interval '1 second')
             and ($5::float8 is null or finished_at >= now() - $5 * interval '1 second')
             and standing = 'open'"#,
        filter.tenant.map(TenantId::as_uuid),
        filter.lane.as_ref().map(Lane::to_string),
        filter.class.map(FailureClass::as_str),
        filter.older_than.map(|age| age.as_secs_f64()),
        filter.newer_than.map(|age| age.as_secs_f64())
    )
    .fetch_one(executor)
    .await?;
    Ok((row.matching.unsigned_abs(), row.wanted.unsigned_abs()))
}

/// The oldest jobs that match, locked so that two operators who decide at once do it one after the other.
async fn pick(
    transaction: &mut Transaction,
    filter: &FailedFilter,
    limit: i64,
    still: Still,
) -> Result<Vec<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        r#"
        select id from jobs
        where id = any(array(
            select id from failed_jobs
            where ($1::uuid is null or tenant_id = $1) and ($2::text is null or lane = $2)
              and ($3::text is null or failure_class = $3 or attempt_failure_class = $3)
              and ($4::float8 is null or finished_at <= now() - $4 * interval '1 second')
              and ($5::float8 is null or finished_at >= now() - $5 * interval '1 second')
              and standing = 'open' and (not $6 or deadline > now())
            order by id limit $7
        )) and state = 'failed' and discarded_at is null and deleted_at is null
        order by id
        for update
        "#,
        filter.tenant.map(TenantId::as_uuid),
        filter.lane.as_ref().map(Lane::to_string),
        filter.class.map(FailureClass::as_str),
        filter.older_than.map(|age| age.as_secs_f64()),
        filter.newer_than.map(|age| age.as_secs_f64()),
        still == Still::Wanted,
        limit
    )
    .fetch_all(transaction)
    .await?;
    Ok(ids)
}

/// Makes the jobs that run these again, of which the caller holds the locks: the same request and webhook under a new
/// id, with a ticket. A job that was run again before is left out, by the unique index.
async fn replay(
    transaction: &mut Transaction,
    failed: &[Uuid],
    mint: &mut impl FnMut() -> JobId,
) -> Result<Vec<Uuid>, Error> {
    let ids: Vec<Uuid> = failed.iter().map(|_| mint().as_uuid()).collect();
    let made = sqlx::query_scalar!(
        r#"
        with replay as (
            insert into jobs (id, replay_of, tenant_id, lane, class, max_attempts, units, price, currency, deadline,
                              expires_at, api_key_id, told_early)
            select new.id, j.id, j.tenant_id, j.lane, j.class, j.max_attempts, j.units, j.price, j.currency,
                   j.deadline, j.expires_at, j.api_key_id, j.told_early
            from unnest($1::uuid[], $2::uuid[]) as new (id, failed) join jobs j on j.id = new.failed
            order by new.id
            on conflict (replay_of) where replay_of is not null do nothing
            returning id, replay_of, lane
        ), request as (
            insert into job_requests (job_id, task, metadata, request_hash, traceparent)
            select replay.id, r.task, r.metadata, r.request_hash, r.traceparent
            from replay join job_requests r on r.job_id = replay.replay_of
        ), hook as (
            insert into job_webhooks (job_id, webhook_id, events)
            select replay.id, j.webhook_id, j.events from replay join job_webhooks j on j.job_id = replay.replay_of
        ), ticket as (
            insert into outbox (lane) select lane from replay
        ), told as (
            -- The failed job names the new one from now on: another version of what its owner sees.
            update jobs j set version = version + 1 from replay where j.id = replay.replay_of
        )
        select id from replay
        "#,
        &ids,
        failed
    )
    .fetch_all(transaction)
    .await?;
    Ok(made)
}

async fn discard(executor: impl PgExecutor<'_>, failed: &[Uuid]) -> Result<u64, Error> {
    let discarded = sqlx::query!(
        "update jobs set discarded_at = now()
         where id = any($1) and state = 'failed' and discarded_at is null and deleted_at is null
           and not exists (select from jobs r where r.replay_of = jobs.id)",
        failed
    )
    .execute(executor)
    .await?;
    Ok(discarded.rows_affected())
}
