//! Accepting jobs.

pub(crate) mod together;

use chrono::{DateTime, Utc};
use darkroom_jobs::{FileId, JobId, JobWebhook, Submission, TenantId};
use rust_decimal::Decimal;
use sqlx::types::Json;
use uuid::Uuid;

use crate::webhooks::words;
use crate::{Error, Job, Store};
use together::Together;

/// A job to be accepted.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id, UUIDv7.
    pub id: JobId,
    /// Its owner.
    pub tenant: TenantId,
    /// Key it was submitted with.
    pub api_key: Option<Uuid>,
    /// What was asked for.
    pub submission: Submission,
    /// The file that its task names.
    pub file: Option<FileId>,
    /// Failures after which it fails for good.
    pub max_attempts: u16,
    /// What it costs if it succeeds.
    pub price: Decimal,
    /// Currency of the price.
    pub currency: String,
    /// Key under which a repeated submission finds this job.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request.
    pub request_hash: [u8; 32],
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// SHA-256 by which a submission that is repeated without a key finds this job, until it is answered.
    pub fingerprint: Option<[u8; 32]>,
}

impl NewJob {
    /// Its weight in the order of leases: billed pixels.
    pub fn units(&self) -> i64 {
        i64::try_from(self.submission.task.pixels()).unwrap_or(i64::MAX).max(1)
    }
}

/// The two halves of an idempotency check.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency<'a> {
    /// The caller's key.
    pub key: &'a str,
    /// SHA-256 of the caller's request.
    pub request_hash: &'a [u8; 32],
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub enum Accepted {
    /// A new job.
    Created(Box<Job>),
    /// The job an earlier submission with the same key and request made.
    Replayed(Box<Job>),
    /// The key belongs to another request.
    KeyReused,
    /// The key belongs to a job that its owner has deleted.
    Deleted,
    /// The file that the job names is not there any more.
    FileGone,
}

/// What the database adds to a job that it accepts.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub(crate) id: Uuid,
    pub(crate) version: i32,
    pub(crate) price: Decimal,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) deadline: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
}

impl Store {
    /// Accepts a job: the job, its request, its webhook and the row that becomes its first ticket, in one statement.
    /// Under load, jobs that come at the same time share one (see [`together`]). When this returns, the job survives
    /// the loss of any one process.
    ///
    /// Where the connection breaks before the answer is there, it is done once more: the job's id tells whether the
    /// first statement was committed.
    ///
    /// # Errors
    /// When the database is unavailable; the job may have been accepted then, and a repeated call with the same
    /// idempotency key finds it.
    pub async fn accept(&self, job: &NewJob) -> Result<Accepted, Error> {
        let (made, again) = match self.insert_together(job).await {
            Together::Answered(Err(error)) if error.is_interruption() => {
                tracing::info!(job = %job.id, error = &error as &dyn std::error::Error, "accepting a job again");
                (self.insert(job).await?, true)
            }
            Together::Answered(made) => (made?, false),
            Together::Unknown => (self.insert(job).await?, true),
        };
        if let Some(stamp) = made {
            self.pending.outbox();
            return Ok(Accepted::Created(Box::new(Job::accepted(job, stamp))));
        }
        if again {
            let own = match self.job(job.tenant, job.id).await {
                Err(error) if error.is_interruption() => self.job(job.tenant, job.id).await,
                own => own,
            };
            if let Some(job) = own? {
                self.pending.outbox();
                return Ok(Accepted::Created(Box::new(job)));
            }
        }
        let key = job.idempotency_key.as_deref().unwrap_or_default();
        let found = self.replay(job.tenant, Idempotency { key, request_hash: &job.request_hash }).await?;
        if found.is_none() && job.file.is_some() {
            return Ok(Accepted::FileGone);
        }
        // The job that was in the way can only vanish between the two statements by the end of its retention.
        Ok(found.unwrap_or(Accepted::Deleted))
    }

    /// Makes the rows; `None` when the id or the idempotency key is taken, or the file is gone.
    async fn insert(&self, job: &NewJob) -> Result<Option<Stamp>, Error> {
        let Submission { lane, task, options } = &job.submission;
        let webhook = options.webhook.as_ref();
        let events = webhook.map(|webhook| words(&webhook.events)).unwrap_or_default();
        let made = sqlx::query_as!(
            Stamp,
            r#"
            -- Its lock holds off whoever would delete the file until the job that names it can be seen.
            with file as (
                update files set expires_at = greatest(expires_at, now() + $21::float8 * interval '1 second')
                where id = $20 and tenant_id = $2 and deleted_at is null and expires_at > now()
                returning id
            ), job as (
                insert into jobs (id, tenant_id, lane, class, max_attempts, units, price, currency, idempotency_key,
                                  deadline, expires_at, api_key_id, told_early)
                select $1, $2, $3, $4, $5, $6, $7, $8, $9,
                       now() + least($10::float8, $11::float8) * interval '1 second',
                       now() + $11::float8 * interval '1 second', $16, $22
                where $20::uuid is null or exists (select from file)
                on conflict do nothing
                returning id, version, price, created_at, deadline, expires_at
            ), request as (
                insert into job_requests (job_id, task, metadata, request_hash, traceparent)
                select id, $12, $13, $14, $15 from job
            ), known as (
                -- Locked against the sweeper.
                select id from webhooks where tenant_id = $2 and form = $18 and url = $17 and for_jobs
                for key share
            ), made as (
                insert into webhooks (id, tenant_id, url, description, events, form, for_jobs)
                select uuid_v7(), $2, $17, '', '{}', $18, true
                from job where $17 is not null and not exists (select from known)
                on conflict (tenant_id, form, url) where for_jobs do update set updated_at = now()
                returning id
            ), hook as (
                insert into job_webhooks (job_id, webhook_id, events)
                select job.id, endpoint.id, $19
                from job cross join (select id from known union all select id from made) endpoint
            ), unanswered as (
                insert into unanswered_jobs (job_id, fingerprint) select id, $23 from job where $23::bytea is not null
            ), ticket as (
                insert into outbox (lane) select $3 from job
            )
            select id, version, price, created_at, deadline, expires_at from job
            "#,
            job.id.as_uuid(),
            job.tenant.as_uuid(),
            lane.to_string(),
            options.priority.class(),
            i16::try_from(job.max_attempts).unwrap_or(i16::MAX),
            job.units(),
            job.price,
            job.currency,
            job.idempotency_key,
            options.deadline.unwrap_or(options.retention).as_secs_f64(),
            options.retention.as_secs_f64(),
            Json(task) as _,
            Json(&options.metadata) as _,
            &job.request_hash[..],
            job.traceparent,
            job.api_key,
            webhook.map(|webhook| webhook.url.as_str()),
            webhook.map(|webhook| webhook.form.as_str()),
            &events,
            job.file.map(FileId::as_uuid),
            Self::KEEP_FILE_SECONDS,
            webhook.is_some_and(JobWebhook::is_told_early),
            job.fingerprint.as_ref().map(|fingerprint| &fingerprint[..])
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(made)
    }

    /// The answer to a submission whose key is known already; `None` for a new key.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn replay(&self, tenant: TenantId, with: Idempotency<'_>) -> Result<Option<Accepted>, Error> {
        let row = sqlx::query!(
            r#"select j.id, j.deleted_at, r.request_hash as "request_hash?"
               from jobs j left join job_requests r on r.job_id = j.id
               where j.tenant_id = $1 and j.idempotency_key = $2"#,
            tenant.as_uuid(),
            with.key
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.request_hash.is_some_and(|hash| hash != with.request_hash) {
            return Ok(Some(Accepted::KeyReused));
        }
        let job = self.job(tenant, JobId::from_uuid(row.id)).await?;
        Ok(Some(job.map_or(Accepted::Deleted, |job| Accepted::Replayed(Box::new(job)))))
    }
}
