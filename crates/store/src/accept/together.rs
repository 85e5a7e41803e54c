//! Submissions that come at the same time go to the database in one statement: under load, most of what a submission
//! costs the database is the statement and not its rows.
//!
//! While few statements are under way a submission is sent by itself, at once. With more of them, others gather for
//! [`LINGER`]; with as many as there may be, until one is back, as they would wait for a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use darkroom_jobs::{BatchId, JobWebhook};
use serde_json::Value;
use sqlx::{Executor, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::sleep;

use super::Stamp;
use crate::{Error, NewJob, Store};

/// Statements under way before submissions gather.
const FEW: usize = 2;
/// Most statements under way.
const FLIGHTS: usize = 4;
/// How long submissions gather.
const LINGER: Duration = Duration::from_millis(1);
/// Most jobs in one statement.
const MOST: usize = 64;

/// What became of a submission that may have been sent together with others.
pub(super) enum Together {
    /// As [`Store::insert`] tells.
    Answered(Result<Option<Stamp>, Error>),
    /// The statement of several failed, perhaps for another's sake, and may have been committed.
    Unknown,
}

/// Submissions that wait for others.
#[derive(Debug)]
pub(crate) struct Gathering {
    waiting: Mutex<Vec<Waiting>>,
    flights: Arc<Semaphore>,
}

#[derive(Debug)]
struct Waiting {
    job: NewJob,
    answer: oneshot::Sender<Option<Stamp>>,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { waiting: Mutex::default(), flights: Arc::new(Semaphore::new(FLIGHTS)) }
    }
}

impl Gathering {
    /// Adds a submission. `true` if it is the first, whose caller has to see to it that they are sent.
    fn add(&self, waiting: Waiting) -> bool {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(waiting);
        all.len() == 1
    }

    /// A flight for a single submission, while there are few.
    fn flight_alone(&self) -> Option<SemaphorePermit<'_>> {
        let few = self.flights.available_permits() > FLIGHTS - FEW;
        self.flights.try_acquire().ok().filter(|_| few)
    }

    /// The next submissions to be sent, and whether others are left. Those whose callers are gone are not: nobody has
    /// heard of such a job.
    fn take(&self) -> (Vec<Waiting>, bool) {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|waiting| !waiting.answer.is_closed());
        let most = all.len().min(MOST);
        let taken = all.drain(..most).collect();
        (taken, !all.is_empty())
    }
}

impl Store {
    /// Inserts a job, together with others where enough such statements are under way.
    pub(super) async fn insert_together(&self, job: &NewJob) -> Together {
        // Files and webhooks are for statements of one job.
        if job.file.is_some() || job.submission.options.webhook.is_some() {
            return Together::Answered(self.insert(job).await);
        }
        if let Some(_flight) = self.gathering.flight_alone() {
            return Together::Answered(self.insert(job).await);
        }
        let (answer, answered) = oneshot::channel();
        if self.gathering.add(Waiting { job: job.clone(), answer }) {
            // Nobody's own task: a caller that goes away takes no other's job with it.
            tokio::spawn(self.clone().send_gathered());
        }
        answered.await.map_or(Together::Unknown, |made| Together::Answered(Ok(made)))
    }

    /// Sends what gathers within [`LINGER`], as soon as there is a flight for it.
    async fn send_gathered(self) {
        sleep(LINGER).await;
        loop {
            let flight = self.gathering.flights.clone().acquire_owned().await;
            let (together, others) = self.gathering.take();
            let store = self.clone();
            tokio::spawn(async move {
                let _flight = flight;
                store.insert_gathered(together).await;
            });
            if !others {
                return;
            }
        }
    }

    /// Callers that hear nothing from this send theirs alone.
    async fn insert_gathered(&self, together: Vec<Waiting>) {
        if together.is_empty() {
            return;
        }
        let jobs: Vec<&NewJob> = together.iter().map(|waiting| &waiting.job).collect();
        let stamps = match insert_jobs(&self.pool, &jobs, None).await {
            Ok(stamps) => stamps,
            Err(error) => {
                tracing::debug!(jobs = together.len(), %error, "failed to accept jobs together");
                return;
            }
        };
        let mut stamps: HashMap<_, _> = stamps.into_iter().map(|stamp| (stamp.id, stamp)).collect();
        for Waiting { job, answer } in together {
            // A caller that is gone finds its job by its id or key.
            drop(answer.send(stamps.remove(&job.id.as_uuid())));
        }
    }
}

/// Inserts jobs without files and webhooks: each with its request and the row that becomes its first ticket. Left out
/// are those whose id or idempotency key is taken.
pub(crate) async fn insert_jobs<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    jobs: &[&NewJob],
    batch: Option<BatchId>,
) -> Result<Vec<Stamp>, Error> {
    let options = || jobs.iter().map(|job| &job.submission.options);
    let json = |value: serde_json::Result<Value>, at: &NewJob| {
        value.map_err(|error| Error::bad_row("job_requests", "task", at.id.as_uuid(), error))
    };
    let tasks = jobs.iter().map(|job| json(serde_json::to_value(&job.submission.task), job));
    let metadata = jobs.iter().map(|job| json(serde_json::to_value(&job.submission.options.metadata), job));
    let stamps = sqlx::query_as!(
        Stamp,
        r#"
        with item as (
            select * from unnest($1::uuid[], $2::text[], $3::smallint[], $4::smallint[], $5::bigint[], $6::numeric[],
                                 $7::text[], $8::float8[], $9::float8[], $10::jsonb[], $11::jsonb[], $12::bytea[],
                                 $13::uuid[], $14::uuid[], $15::text[], $16::bool[], $17::text[], $18::bytea[])
                as i (id, lane, class, max_attempts, units, price, currency, deadline_s, retention_s, task, metadata,
                      request_hash, tenant_id, api_key_id, traceparent, told_early, idempotency_key, fingerprint)
        ), job as (
            insert into jobs (id, tenant_id, lane, class, max_attempts, units, price, currency, idempotency_key,
                              deadline, expires_at, api_key_id, told_early, batch_id)
            select id, tenant_id, lane, class, max_attempts, units, price, currency, idempotency_key,
                   now() + least(deadline_s, retention_s) * interval '1 second',
                   now() + retention_s * interval '1 second', api_key_id, told_early, $19
            from item
            -- In one order, so that two statements with the same keys cannot wait for each other.
            order by tenant_id, idempotency_key, id
            on conflict do nothing
            returning id, lane, version, price, created_at, deadline, expires_at
        ), request as (
            insert into job_requests (job_id, task, metadata, request_hash, traceparent)
            select job.id, task, metadata, request_hash, traceparent from job join item on item.id = job.id
        ), unanswered as (
            insert into unanswered_jobs (job_id, fingerprint)
            select job.id, fingerprint from job join item on item.id = job.id where fingerprint is not null
        ), ticket as (
            insert into outbox (lane) select lane from job
        )
        select id, version, price, created_at, deadline, expires_at from job
        "#,
        &jobs.iter().map(|job| job.id.as_uuid()).collect::<Vec<_>>(),
        &jobs.iter().map(|job| job.submission.lane.to_string()).collect::<Vec<_>>(),
        &options().map(|options| options.priority.class()).collect::<Vec<_>>(),
        &jobs.iter().map(|job| i16::try_from(job.max_attempts).unwrap_or(i16::MAX)).collect::<Vec<_>>(),
        &jobs.iter().map(|job| job.units()).collect::<Vec<_>>(),
        &jobs.iter().map(|job| job.price).collect::<Vec<_>>(),
        &jobs.iter().map(|job| job.currency.clone()).collect::<Vec<_>>(),
        &options().map(|it| it.deadline.unwrap_or(it.retention).as_secs_f64()).collect::<Vec<_>>(),
        &options().map(|options| options.retention.as_secs_f64()).collect::<Vec<_>>(),
        &tasks.collect::<Result<Vec<_>, Error>>()?,
        &metadata.collect::<Result<Vec<_>, Error>>()?,
        &jobs.iter().map(|job| job.request_hash.to_vec()).collect::<Vec<_>>(),
        &jobs.iter().map(|job| job.tenant.as_uuid()).collect::<Vec<_>>(),
        &jobs.iter().map(|job| job.api_key).collect::<Vec<_>>() as _,
        &jobs.iter().map(|job| job.traceparent.clone()).collect::<Vec<_>>() as _,
        &options().map(|it| it.webhook.as_ref().is_some_and(JobWebhook::is_told_early)).collect::<Vec<_>>(),
        &jobs.iter().map(|job| job.idempotency_key.clone()).collect::<Vec<_>>() as _,
        &jobs.iter().map(|job| job.fingerprint.map(|hash| hash.to_vec())).collect::<Vec<_>>() as _,
        batch.map(BatchId::as_uuid)
    )
    .fetch_all(executor)
    .await?;
    Ok(stamps)
}
