//! Settling: how an attempt ends, fenced by its lease token.

use std::collections::BTreeMap;
use std::time::Duration;

use darkroom_jobs::{Failure, FailureClass, Retry, WorkerId};
use sqlx::types::Json;

use crate::pool::Transaction;
use crate::{Error, Lease, NewArtifact, Recorded, Store};

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Every artifact is recorded.
    Succeeded {
        /// Milliseconds of each stage.
        timings: BTreeMap<String, f64>,
    },
    /// It failed, and this is what becomes of the job.
    Failed {
        /// Why.
        failure: Failure,
        /// Decided by [`darkroom_jobs::RetryPolicy`].
        retry: Retry,
        /// Worker that should leave the next attempt to others for a while.
        avoid: Option<WorkerId>,
    },
    /// The worker hands it back unfinished. Counts as no failure.
    Released,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It stands; also when an earlier call with this lease had settled it the same way.
    Done,
    /// The lease is gone; nothing was changed.
    LeaseGone,
    /// Not every artifact is recorded; nothing was changed.
    Incomplete,
}

/// Which end of an attempt a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The worker said so.
    Failed,
    /// The reaper took it back; `worker_died` when its worker is gone as well.
    Lost { worker_died: i16 },
}

/// How long a worker that ran out of memory leaves the job to others.
const AVOID: Duration = Duration::from_secs(60);

impl Store {
    /// Ends an attempt. Repeating the call with the same lease and outcome is safe.
    ///
    /// # Errors
    /// When the database is unavailable; the attempt may have been settled then: call again.
    pub async fn settle(&self, lease: &Lease, outcome: &Outcome, artifacts: u32) -> Result<Settled, Error> {
        let (settled, state) = match outcome {
            Outcome::Succeeded { timings } => {
                (self.succeed(lease, None, timings, artifacts).await?, "succeeded")
            }
            Outcome::Released => (self.release(lease).await?, "released"),
            Outcome::Failed { failure, retry, avoid } => {
                let mut transaction = self.pool.begin().await?;
                let closed =
                    Close { lease: *lease, ending: Ending::Failed, failure, retry: *retry, avoid: *avoid };
                let done = closed.execute(&mut transaction).await?;
                transaction.commit().await?;
                (done, "failed")
            }
        };
        self.pending.job(lease.job);
        if settled {
            if !matches!(outcome, Outcome::Succeeded { .. }) {
                self.pending.outbox();
            }
            return Ok(Settled::Done);
        }
        self.why_not_settled(lease, state).await
    }

    /// Records the last result of an attempt and ends the attempt as succeeded: [`Self::record_artifact`] and
    /// [`Self::settle`] in one statement. Repeating the call with the same lease and result is safe.
    ///
    /// # Errors
    /// When the database is unavailable; the attempt may have been settled then: call again.
    pub async fn finish(
        &self,
        lease: &Lease,
        last: &NewArtifact,
        timings: &BTreeMap<String, f64>,
        artifacts: u32,
    ) -> Result<Settled, Error> {
        let done = self.succeed(lease, Some(last), timings, artifacts).await?;
        self.pending.job(lease.job);
        if done {
            return Ok(Settled::Done);
        }
        match self.why_not_settled(lease, "succeeded").await? {
            // A webhook that is told of results hears of this one before it hears of the end.
            Settled::Incomplete if self.record_artifact(lease, last).await? == Recorded::Stored => {
                self.settle(lease, &Outcome::Succeeded { timings: timings.clone() }, artifacts).await
            }
            Settled::Incomplete => Ok(Settled::LeaseGone),
            settled => Ok(settled),
        }
    }

    /// Not with a last result for jobs whose webhooks are told of results.
    async fn succeed(
        &self,
        lease: &Lease,
        last: Option<&NewArtifact>,
        timings: &BTreeMap<String, f64>,
        artifacts: u32,
    ) -> Result<bool, Error> {
        let index = last.map(NewArtifact::index);
        let done = sqlx::query_scalar!(
            r#"
            with job as (
                update jobs
                set state = 'succeeded', version = version + 1, lease_token = null, finished_at = now(), cost = price,
                    artifacts = $4
                where id = $1 and attempt = $2 and lease_token = $3 and state = 'running'
                  and ($6::uuid is null or not told_early)
                  and (select count(*) from artifacts where job_id = $1 and index is distinct from $7)
                      + case when $6 is null then 0 else 1 end = $4
                returning id, attempt
            ), attempt as (
                update attempts a set state = 'succeeded', finished_at = now(), timings = $5
                from job where a.job_id = job.id and a.number = job.attempt
            ), artifact as (
                insert into artifacts (id, job_id, index, attempt, key, content_type, size_bytes, sha256, width, height,
                                       seed, nsfw, text)
                select $6, id, $7, attempt, $8, $9, $10, $11, $12, $13, $14, $15, $16 from job where $6 is not null
                on conflict (job_id, index) do nothing
            )
            select id from job
            "#,
            lease.job.as_uuid(),
            lease.attempt,
            lease.token.as_uuid(),
            i64::from(artifacts),
            Json(timings) as _,
            last.map(|last| last.id.as_uuid()),
            index,
            last.map(|last| last.key.as_str()),
            last.map(|last| last.content_type.as_str()),
            last.map(NewArtifact::size_bytes),
            last.map(|last| &last.sha256[..]),
            last.and_then(NewArtifact::width),
            last.and_then(NewArtifact::height),
            last.and_then(NewArtifact::seed),
            last.map(|last| last.nsfw),
            last.and_then(|last| last.text.as_deref())
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(done.is_some())
    }

    async fn release(&self, lease: &Lease) -> Result<bool, Error> {
        let done = sqlx::query_scalar!(
            r#"
            with job as (
                update jobs
                set state = 'queued', version = version + 1, lease_token = null, available_at = now()
                where id = $1 and attempt = $2 and lease_token = $3 and state = 'running'
                returning id, attempt, lane
            ), attempt as (
                update attempts a set state = 'released', finished_at = now()
                from job where a.job_id = job.id and a.number = job.attempt
            ), ticket as (
                insert into outbox (lane) select lane from job
            )
            select id from job
            "#,
            lease.job.as_uuid(),
            lease.attempt,
            lease.token.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(done.is_some())
    }

    /// Tells a settlement whose COMMIT reply was lost from one that came too late.
    async fn why_not_settled(&self, lease: &Lease, state: &str) -> Result<Settled, Error> {
        let found = sqlx::query_scalar!(
            "select state from attempts where job_id = $1 and number = $2 and lease_token = $3",
            lease.job.as_uuid(),
            lease.attempt,
            lease.token.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(match found.as_deref() {
            Some(found) if found == state => Settled::Done,
            Some("running") => Settled::Incomplete,
            _ => Settled::LeaseGone,
        })
    }
}

/// The end of an attempt that did not succeed, for worker and reaper alike.
pub(crate) struct Close<'a> {
    pub(crate) lease: Lease,
    pub(crate) ending: Ending,
    pub(crate) failure: &'a Failure,
    pub(crate) retry: Retry,
    pub(crate) avoid: Option<WorkerId>,
}

impl Close<'_> {
    /// Closes the attempt and requeues or fails the job. `false` when the lease is gone.
    pub(crate) async fn execute(&self, transaction: &mut Transaction) -> Result<bool, Error> {
        let (attempt_state, worker_died) = match self.ending {
            Ending::Failed => ("failed", 0),
            Ending::Lost { worker_died } => ("lost", worker_died),
        };
        let (delay, verdict) = match self.retry {
            Retry::After(delay) => (Some(delay), None),
            Retry::Never => (None, Some(self.failure.clone())),
            Retry::Exhausted => (None, Some(self.poison())),
        };
        // Locks the job before its attempt, as every other statement does.
        let closed = sqlx::query_scalar!(
            r#"
            with job as (
                update jobs
                set state = case when $4::float8 is null then 'failed' else 'queued' end,
                    version = version + 1, lease_token = null, failures = failures + 1,
                    worker_deaths = worker_deaths + $5,
                    available_at = now() + coalesce($4, 0) * interval '1 second',
                    finished_at = case when $4 is null then now() end,
                    failure_class = $6, failure_message = $7,
                    avoid_worker = $8, avoid_until = now() + $9 * interval '1 second'
                where id = $1 and attempt = $2 and lease_token = $3 and state = 'running'
                returning id, attempt, lane, state, available_at
            ), attempt as (
                update attempts a
                set state = $10, finished_at = now(), failure_class = $11, failure_message = $12
                from job where a.job_id = job.id and a.number = job.attempt
            ), ticket as (
                insert into outbox (lane, available_at) select lane, available_at from job where state = 'queued'
            )
            select id from job
            "#,
            self.lease.job.as_uuid(),
            self.lease.attempt,
            self.lease.token.as_uuid(),
            delay.map(|delay| delay.as_secs_f64()),
            worker_died,
            verdict.as_ref().map(|verdict| verdict.class.as_str()),
            verdict.as_ref().map(|verdict| verdict.message.as_str()),
            self.avoid.map(WorkerId::as_uuid),
            AVOID.as_secs_f64(),
            attempt_state,
            self.failure.class.as_str(),
            self.failure.message
        )
        .fetch_optional(&mut *transaction)
        .await?;
        Ok(closed.is_some())
    }

    fn poison(&self) -> Failure {
        let message = format!("no attempt is left, the last one ended so: {}", self.failure.message);
        Failure::new(FailureClass::Poison, message)
    }
}
