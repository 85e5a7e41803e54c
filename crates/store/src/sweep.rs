//! What the sweeper deletes. Objects go first and rows after, so that an interrupted sweep is repeated.

use darkroom_jobs::JobId;
use uuid::Uuid;

use crate::{Error, Store};

/// An attempt that ended without success and may have left objects behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedAttempt {
    /// The job.
    pub job: JobId,
    /// Number of the attempt.
    pub attempt: i32,
    /// Keys under this attempt that artifacts name.
    pub named: Vec<String>,
}

impl Store {
    /// Idempotency keys answer for at least this long.
    pub(crate) const KEEP_KEY_SECONDS: f64 = 24.0 * 3600.0;

    /// Final jobs that are deleted or past their retention and still have objects, and that ended at least
    /// `after_seconds` ago: a worker that has not heard of the end may still upload. A deleted job that is run again
    /// keeps its objects until that has ended, since the input is among them.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn jobs_to_sweep(&self, after_seconds: f64, limit: i64) -> Result<Vec<JobId>, Error> {
        let ids = sqlx::query_scalar!(
            r#"
            (select id as "id!" from jobs
             where deleted_at is not null and swept_at is null and finished_at <= now() - $2 * interval '1 second'
               and not exists (
                   with recursive replays (id, state) as (
                       select r.id, r.state from jobs r where r.replay_of = jobs.id
                       union all
                       select r.id, r.state from replays p join jobs r on r.replay_of = p.id
                   )
                   select from replays where state in ('queued', 'running')
               )
             order by deleted_at limit $1)
            union
            (select id from jobs
             where expires_at <= now() and swept_at is null and finished_at <= now() - $2 * interval '1 second'
             order by expires_at limit $1)
            "#,
            limit,
            after_seconds
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(JobId::from_uuid).collect())
    }

    /// Notes that a job's objects are deleted, and drops everything about it but the row itself, which keeps its
    /// idempotency key.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn mark_swept(&self, job: JobId) -> Result<(), Error> {
        sqlx::query!(
            r#"
            with job as (update jobs set swept_at = now() where id = $1 returning id),
                 artifact as (delete from artifacts using job where job_id = job.id),
                 warning as (delete from job_warnings using job where job_id = job.id),
                 attempt as (delete from attempts using job where job_id = job.id),
                 hook as (delete from job_webhooks using job where job_id = job.id returning webhook_id),
                 unused as (
                     update webhooks w set unused_since = now() from hook
                     where w.id = hook.webhook_id
                       -- Those that were noted lately are not looked at for a while.
                       and (w.unused_since is null or w.unused_since < now() - interval '30 minutes')
                 )
            delete from job_requests using job where job_id = job.id
            "#,
            job.as_uuid()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Deletes rows of swept jobs whose idempotency key need not answer any more and whose usage is rolled up.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn delete_swept_jobs(&self, limit: i64) -> Result<u64, Error> {
        let deleted = sqlx::query!(
            r#"
            delete from jobs where id = any(array(
                select id from jobs
                where swept_at is not null
                  and (idempotency_key is null or created_at < now() - $2 * interval '1 second')
                  and (finished_at at time zone 'UTC')::date <= (select rolled_through from usage_mark)
                order by swept_at limit $1
                for update skip locked
            ))
            "#,
            limit,
            Self::KEEP_KEY_SECONDS
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected())
    }

    /// Attempts that ended without success at least `after_seconds` ago and were not swept. The pause is for a
    /// worker that does not know yet that its lease is gone and still uploads.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn attempts_to_sweep(
        &self,
        after_seconds: f64,
        limit: i64,
    ) -> Result<Vec<ClosedAttempt>, Error> {
        let rows = sqlx::query!(
            r#"select a.job_id, a.number,
                      array(select key from artifacts f where f.job_id = a.job_id and f.attempt = a.number) as "named!"
               from attempts a
               where a.state in ('failed', 'released', 'lost', 'canceled') and a.swept_at is null
                 and a.finished_at < now() - $1 * interval '1 second'
               order by a.finished_at limit $2"#,
            after_seconds,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let closed = rows.into_iter().map(|row| ClosedAttempt {
            job: JobId::from_uuid(row.job_id),
            attempt: row.number,
            named: row.named,
        });
        Ok(closed.collect())
    }

    /// Notes that objects of this attempt that no artifact names are deleted.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn mark_attempt_swept(&self, job: JobId, attempt: i32) -> Result<(), Error> {
        sqlx::query!(
            "update attempts set swept_at = now() where job_id = $1 and number = $2",
            job.as_uuid(),
            attempt
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Which of these jobs exist at all: inputs of the others belong to requests that were never accepted.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn existing_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>, Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let found = sqlx::query_scalar!("select id from jobs where id = any($1)", &uuids)
            .fetch_all(&self.pool)
            .await?;
        Ok(found.into_iter().map(JobId::from_uuid).collect())
    }
}
