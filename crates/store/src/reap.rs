//! Taking back expired leases, and expiring jobs whose deadline has passed.

use darkroom_jobs::{Failure, FailureClass, JobId, LeaseToken, Retry, RetryPolicy, WorkerId};

use crate::cancel::close_attempts;
use crate::rows::At;
use crate::settle::{Close, Ending};
use crate::{Error, Lease, Store};

/// An attempt that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    /// Its lease, which is gone now.
    pub lease: Lease,
    /// Who held it.
    pub worker: WorkerId,
    /// Whether that worker is gone as well.
    pub worker_died: bool,
    /// Whether the job goes back to the queue.
    pub requeued: bool,
}

impl Store {
    /// Marks attempts lost whose lease has expired and requeues or fails their jobs; at most `limit` of them.
    /// `jitter` is uniform in [0, 1) and spreads the retries. For one lease after the database's own start nothing
    /// is taken back.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn reap(&self, limit: i64, jitter: f64) -> Result<Vec<Reaped>, Error> {
        let mut transaction = self.pool.begin().await?;
        // Locks the jobs, and skips those another reaper or a settling worker holds. The attempts are read again
        // under that lock, so a heartbeat that came in between wins.
        let rows = sqlx::query!(
            r#"
            with expired as (
                select j.id from attempts a join jobs j on j.id = a.job_id and j.lease_token = a.lease_token
                where a.state = 'running' and a.lease_expires_at < now()
                  -- Nobody could send heartbeats while the server was down: everybody gets a full lease first.
                  and pg_postmaster_start_time() < now() - $3 * interval '1 second'
                limit $1
                for update of j skip locked
            ), lost as (
                select a.* from attempts a join expired e on e.id = a.job_id
                where a.state = 'running' and a.lease_expires_at < now()
                order by a.job_id
                for update of a
            )
            select j.id, j.attempt, j.failures, j.max_attempts, j.worker_deaths, a.lease_token, a.worker_id,
                   not exists (
                       select from workers w
                       where w.id = a.worker_id and w.last_seen_at > now() - $2 * interval '1 second'
                   ) as "worker_died!"
            from lost a join jobs j on j.id = a.job_id and j.lease_token = a.lease_token
            "#,
            limit,
            self.lease.as_secs_f64() / 2.0,
            self.lease.as_secs_f64()
        )
        .fetch_all(&mut transaction)
        .await?;
        let mut reaped = Vec::with_capacity(rows.len());
        for row in rows {
            let at = At { table: "jobs", id: row.id };
            let policy = RetryPolicy { max_attempts: at.integer("max_attempts", row.max_attempts)? };
            let failures: u16 = at.integer("failures", row.failures)?;
            let deaths: u16 = at.integer("worker_deaths", row.worker_deaths)?;
            let failure = Failure::new(FailureClass::Lost, "the worker stopped answering");
            let deadly = row.worker_died && deaths + 1 >= RetryPolicy::MAX_WORKER_DEATHS;
            let retry = if deadly { Retry::Exhausted } else { policy.decide(&failure, failures + 1, jitter) };
            let lease = Lease {
                job: JobId::from_uuid(row.id),
                attempt: row.attempt,
                token: LeaseToken::from_uuid(row.lease_token),
            };
            let ending = Ending::Lost { worker_died: row.worker_died.into() };
            let close = Close { lease, ending, failure: &failure, retry, avoid: None };
            if close.execute(&mut transaction).await? {
                reaped.push(Reaped {
                    lease,
                    worker: WorkerId::from_uuid(row.worker_id),
                    worker_died: row.worker_died,
                    requeued: matches!(retry, Retry::After(_)),
                });
            }
        }
        transaction.commit().await?;
        for reaped in &reaped {
            self.pending.job(reaped.lease.job);
        }
        if !reaped.is_empty() {
            self.pending.outbox();
        }
        Ok(reaped)
    }

    /// Expires jobs whose deadline has passed, queued or running; at most `limit` of them.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn expire(&self, limit: i64) -> Result<Vec<JobId>, Error> {
        let mut transaction = self.pool.begin().await?;
        let ids = sqlx::query_scalar!(
            r#"
            update jobs set state = 'expired', version = version + 1, lease_token = null, finished_at = now()
            where id = any(array(
                select id from jobs
                where state in ('queued', 'running') and deadline <= now()
                order by deadline limit $1
                for update skip locked
            ))
            returning id
            "#,
            limit
        )
        .fetch_all(&mut transaction)
        .await?;
        close_attempts(&mut transaction, &ids).await?;
        transaction.commit().await?;
        let expired: Vec<JobId> = ids.into_iter().map(JobId::from_uuid).collect();
        for &job in &expired {
            self.pending.job(job);
        }
        Ok(expired)
    }
}
