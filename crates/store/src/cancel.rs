//! What owners do to their jobs: cancel and delete.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use darkroom_jobs::{BatchId, JobId, TenantId};
use uuid::Uuid;

use crate::pool::Transaction;
use crate::{Error, Store};

/// What became of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canceled {
    /// The job is canceled, for good; a worker that runs it finds its lease gone.
    Done,
    /// The job was final before.
    AlreadyFinal,
    /// The tenant has no such job.
    NotFound,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nobody sees the job any more; its objects are deleted soon.
    Done,
    /// The job is not final: it has to be canceled first.
    NotFinal,
    /// The tenant has no such job.
    NotFound,
}

/// Tries of a cancellation after the first, and the pause before them.
const TRIES: usize = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// Cancels a job and revokes the lease under which it runs. Done again where the database undid it or the
    /// connection broke.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn cancel(&self, tenant: TenantId, id: JobId) -> Result<Canceled, Error> {
        let cancel = || self.try_cancel(tenant, id);
        let delays =
            ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(TRIES).with_jitter();
        cancel.retry(delays).when(|error| error.is_undone() || error.is_interruption()).await
    }

    async fn try_cancel(&self, tenant: TenantId, id: JobId) -> Result<Canceled, Error> {
        let mut transaction = self.pool.begin().await?;
        let canceled = sqlx::query_scalar!(
            "update jobs
             set state = 'canceled', version = version + 1, lease_token = null, finished_at = now()
             where id = $1 and tenant_id = $2 and state in ('queued', 'running') and deleted_at is null
             returning id",
            id.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_optional(&mut transaction)
        .await?;
        if canceled.is_some() {
            close_attempts(&mut transaction, &[id.as_uuid()]).await?;
        }
        transaction.commit().await?;
        if canceled.is_some() {
            self.pending.job(id);
            return Ok(Canceled::Done);
        }
        Ok(if self.owns(tenant, id).await? { Canceled::AlreadyFinal } else { Canceled::NotFound })
    }

    /// Cancels those jobs of a batch that are not final, and revokes the leases of those that run: how many. Done again
    /// as [`Store::cancel`] is.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn cancel_batch(&self, tenant: TenantId, id: BatchId) -> Result<u64, Error> {
        let cancel = || self.try_cancel_batch(tenant, id);
        let delays =
            ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(TRIES).with_jitter();
        cancel.retry(delays).when(|error| error.is_undone() || error.is_interruption()).await
    }

    async fn try_cancel_batch(&self, tenant: TenantId, id: BatchId) -> Result<u64, Error> {
        let mut transaction = self.pool.begin().await?;
        // Locked in the order of their ids, as whoever else locks many jobs does.
        let canceled = sqlx::query_scalar!(
            "with unfinished as (
                 select id from jobs
                 where batch_id = $1 and tenant_id = $2 and state in ('queued', 'running') and deleted_at is null
                 order by id for update
             )
             update jobs
             set state = 'canceled', version = version + 1, lease_token = null, finished_at = now()
             from unfinished where jobs.id = unfinished.id
             returning jobs.id",
            id.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_all(&mut transaction)
        .await?;
        close_attempts(&mut transaction, &canceled).await?;
        transaction.commit().await?;
        for id in &canceled {
            self.pending.job(JobId::from_uuid(*id));
        }
        Ok(canceled.len() as u64)
    }

    /// Hides a final job from everybody at once; the sweeper deletes its objects.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn delete(&self, tenant: TenantId, id: JobId) -> Result<Deleted, Error> {
        let deleted = sqlx::query!(
            "update jobs set deleted_at = now()
             where id = $1 and tenant_id = $2 and state not in ('queued', 'running') and deleted_at is null",
            id.as_uuid(),
            tenant.as_uuid()
        )
        .execute(&self.pool)
        .await?;
        if deleted.rows_affected() > 0 {
            return Ok(Deleted::Done);
        }
        Ok(if self.owns(tenant, id).await? { Deleted::NotFinal } else { Deleted::NotFound })
    }

    async fn owns(&self, tenant: TenantId, id: JobId) -> Result<bool, Error> {
        let found = sqlx::query_scalar!(
            "select id from jobs where id = $1 and tenant_id = $2 and deleted_at is null and swept_at is null",
            id.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.is_some())
    }
}

/// Cancels the running attempts of jobs that were just canceled or expired. A statement of its own: the first may
/// have waited for the transaction that leased the job, and would not see the attempt which that one made.
pub(crate) async fn close_attempts(transaction: &mut Transaction, jobs: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        "update attempts set state = 'canceled', finished_at = now() where job_id = any($1) and state = 'running'",
        jobs
    )
    .execute(transaction)
    .await?;
    Ok(())
}
