//! Jobs as their owners see them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use darkroom_jobs::{
    BatchId, Failure, JobId, JobState, JobWebhook, Lane, Priority, Submission, Task, TenantId, Warning,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::accept::Stamp;
use crate::pool::Transaction;
use crate::rows::At;
use crate::{Artifact, Error, NewJob, Store};

/// A job with everything its owner may see.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its owner.
    pub tenant: TenantId,
    /// Where it waits or waited.
    pub lane: Lane,
    /// Its priority class.
    pub priority: Priority,
    /// Where it stands.
    pub state: JobState,
    /// Grows with state, artifacts and warnings, not with progress.
    pub version: i32,
    /// Attempts that were started.
    pub attempts: i32,
    /// Attempts that failed or were lost.
    pub failures: i16,
    /// What it costs if it succeeds.
    pub price: Decimal,
    /// What it did cost.
    pub cost: Option<Decimal>,
    /// Currency of both.
    pub currency: String,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first attempt was leased.
    pub started_at: Option<DateTime<Utc>>,
    /// When it became final.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it expires unless it is final by then.
    pub deadline: DateTime<Utc>,
    /// End of retention.
    pub expires_at: DateTime<Utc>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What was asked for.
    pub task: Task,
    /// The caller's labels.
    pub metadata: BTreeMap<String, String>,
    /// Progress of the attempt that runs.
    pub progress: Option<Progress>,
    /// Timings of the latest attempt, in milliseconds.
    pub timings: Option<BTreeMap<String, f64>>,
    /// What runs reported without failing, in the order of arrival.
    pub warnings: Vec<Warning>,
    /// Results so far, by index.
    pub artifacts: Vec<Artifact>,
    /// The failed job that this one runs again.
    pub replay_of: Option<JobId>,
    /// The job that runs this failed one again.
    pub replayed_by: Option<JobId>,
    /// The batch it was submitted with.
    pub batch: Option<BatchId>,
    /// Its own webhook.
    pub webhook: Option<JobWebhook>,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Picture being made, from 0.
    pub image: u32,
    /// Pictures in the job.
    pub images: u32,
    /// Steps done on it.
    pub step: u32,
    /// Steps it takes.
    pub steps: u32,
}

/// Which jobs to list. Newest first.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Only jobs of this lane's pipeline.
    pub pipeline: Option<darkroom_jobs::Pipeline>,
    /// Only jobs of this model.
    pub model: Option<String>,
    /// Only jobs whose metadata has all of this.
    pub metadata: BTreeMap<String, String>,
    /// Only jobs of this batch.
    pub batch: Option<BatchId>,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: i64,
}

/// Version, state and progress of a job, for those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobVersion {
    /// The job.
    pub id: JobId,
    /// Its version.
    pub version: i32,
    /// Its state.
    pub state: JobState,
    /// How far it is; `None` unless it runs.
    pub progress: Option<Progress>,
}

struct JobRow {
    id: Uuid,
    tenant_id: Uuid,
    lane: String,
    class: i16,
    state: String,
    version: i32,
    attempt: i32,
    failures: i16,
    price: Decimal,
    cost: Option<Decimal>,
    currency: String,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    deadline: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    failure_class: Option<String>,
    failure_message: Option<String>,
    task: serde_json::Value,
    metadata: serde_json::Value,
    progress: Option<serde_json::Value>,
    timings: Option<serde_json::Value>,
    warnings: serde_json::Value,
    artifacts: serde_json::Value,
    replay_of: Option<Uuid>,
    replayed_by: Option<Uuid>,
    batch_id: Option<Uuid>,
    webhook_url: Option<String>,
    webhook_form: Option<String>,
    webhook_events: Option<Vec<String>>,
}

impl JobRow {
    /// The endpoint that the job names itself.
    fn webhook(&self) -> Result<Option<JobWebhook>, Error> {
        let at = At { table: "job_webhooks", id: self.id };
        let (Some(url), Some(form), Some(events)) =
            (&self.webhook_url, &self.webhook_form, &self.webhook_events)
        else {
            return Ok(None);
        };
        let events = events.iter().map(|event| at.word("events", event)).collect::<Result<_, _>>()?;
        Ok(Some(JobWebhook { url: url.clone(), form: at.word("form", form)?, events }))
    }
}

impl TryFrom<JobRow> for Job {
    type Error = Error;

    fn try_from(row: JobRow) -> Result<Self, Error> {
        let at = At { table: "jobs", id: row.id };
        let request = At { table: "job_requests", id: row.id };
        let attempt = At { table: "attempts", id: row.id };
        let priority = Priority::from_class(row.class)
            .ok_or_else(|| Error::bad_row("jobs", "class", row.id, format!("{} is no class", row.class)))?;
        let (state, webhook) = (at.word("state", &row.state)?, row.webhook()?);
        let failure = row
            .failure_class
            .map(|class| {
                Ok::<_, Error>(Failure::new(
                    at.word("failure_class", &class)?,
                    row.failure_message.unwrap_or_default(),
                ))
            })
            .transpose()?;
        Ok(Self {
            id: JobId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            lane: at.word("lane", &row.lane)?,
            priority,
            state,
            version: row.version,
            attempts: row.attempt,
            failures: row.failures,
            price: row.price.normalize(),
            cost: row.cost.map(|cost| cost.normalize()),
            currency: row.currency,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            deadline: row.deadline,
            expires_at: row.expires_at,
            failure,
            task: request.json("task", row.task)?,
            metadata: request.json("metadata", row.metadata)?,
            progress: row
                .progress
                .filter(|_| state == JobState::Running)
                .map(|value| attempt.json("progress", value))
                .transpose()?,
            timings: row.timings.map(|value| attempt.json("timings", value)).transpose()?,
            warnings: At { table: "job_warnings", id: row.id }.json("detail", row.warnings)?,
            artifacts: At { table: "artifacts", id: row.id }.json("job_id", row.artifacts)?,
            replay_of: row.replay_of.map(JobId::from_uuid),
            replayed_by: row.replayed_by.map(JobId::from_uuid),
            batch: row.batch_id.map(BatchId::from_uuid),
            webhook,
        })
    }
}

impl Job {
    /// A job that was just accepted.
    pub(crate) fn accepted(new: &NewJob, stamp: Stamp) -> Self {
        let Submission { lane, task, options } = new.submission.clone();
        Self {
            id: new.id,
            tenant: new.tenant,
            lane,
            priority: options.priority,
            state: JobState::Queued,
            version: stamp.version,
            attempts: 0,
            failures: 0,
            price: stamp.price.normalize(),
            cost: None,
            currency: new.currency.clone(),
            created_at: stamp.created_at,
            started_at: None,
            finished_at: None,
            deadline: stamp.deadline,
            expires_at: stamp.expires_at,
            failure: None,
            task,
            metadata: options.metadata,
            progress: None,
            timings: None,
            warnings: Vec::new(),
            artifacts: Vec::new(),
            replay_of: None,
            replayed_by: None,
            batch: None,
            webhook: options.webhook,
        }
    }
}

impl Store {
    /// A tenant's job. Another tenant's job and no job at all are answered alike.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn job(&self, tenant: TenantId, id: JobId) -> Result<Option<Job>, Error> {
        let row = sqlx::query_as!(
            JobRow,
            r#"select j.id, j.tenant_id, j.lane, j.class, j.state, j.version, j.attempt, j.failures, j.price, j.cost,
                      j.currency, j.created_at, j.started_at, j.finished_at, j.deadline, j.expires_at,
                      j.failure_class, j.failure_message, r.task, r.metadata, a.progress as "progress?",
                      a.timings as "timings?", j.replay_of, j.batch_id, w.url as "webhook_url?",
                      w.form as "webhook_form?", h.events as "webhook_events?",
                      (select id from jobs replay where replay.replay_of = j.id) as replayed_by,
                      (select coalesce(jsonb_agg(jsonb_build_object('code', w.code, 'message', w.message, 'detail',
                                                                    w.detail) order by w.id), '[]')
                       from job_warnings w where w.job_id = j.id) as "warnings!",
                      (select coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'index', a.index,
                                                                    'content_type', a.content_type,
                                                                    'size_bytes', a.size_bytes,
                                                                    'sha256', encode(a.sha256, 'hex'),
                                                                    'width', a.width, 'height', a.height,
                                                                    'seed', a.seed, 'nsfw', a.nsfw, 'text', a.text)
                                                 order by a.index), '[]')
                       from artifacts a where a.job_id = j.id) as "artifacts!"
               from jobs j
               join job_requests r on r.job_id = j.id
               left join attempts a on a.job_id = j.id and a.number = j.attempt
               left join job_webhooks h on h.job_id = j.id
               left join webhooks w on w.id = h.webhook_id
               where j.id = $1 and j.tenant_id = $2 and j.deleted_at is null and j.swept_at is null"#,
            id.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Job::try_from).transpose()
    }

    /// A page of a tenant's jobs, newest first.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn jobs(&self, tenant: TenantId, filter: &JobFilter) -> Result<Vec<Job>, Error> {
        // The optional filters have no good plan in common: a connection that has listed by a rare filter a few times
        // would go on to list everything by its plan.
        let mut transaction = self.pool.begin_planning().await?;
        let labelled = labelled(&mut transaction, tenant, filter).await?;
        let rows = sqlx::query_as!(
            JobRow,
            r#"select j.id, j.tenant_id, j.lane, j.class, j.state, j.version, j.attempt, j.failures, j.price, j.cost,
                      j.currency, j.created_at, j.started_at, j.finished_at, j.deadline, j.expires_at,
                      j.failure_class, j.failure_message, r.task, r.metadata, a.progress as "progress?",
                      a.timings as "timings?", j.replay_of, j.batch_id, w.url as "webhook_url?",
                      w.form as "webhook_form?", h.events as "webhook_events?",
                      (select id from jobs replay where replay.replay_of = j.id) as replayed_by,
                      (select coalesce(jsonb_agg(jsonb_build_object('code', w.code, 'message', w.message, 'detail',
                                                                    w.detail) order by w.id), '[]')
                       from job_warnings w where w.job_id = j.id) as "warnings!",
                      (select coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'index', a.index,
                                                                    'content_type', a.content_type,
                                                                    'size_bytes', a.size_bytes,
                                                                    'sha256', encode(a.sha256, 'hex'),
                                                                    'width', a.width, 'height', a.height,
                                                                    'seed', a.seed, 'nsfw', a.nsfw, 'text', a.text)
                                                 order by a.index), '[]')
                       from artifacts a where a.job_id = j.id) as "artifacts!"
               from jobs j
               join job_requests r on r.job_id = j.id
               left join attempts a on a.job_id = j.id and a.number = j.attempt
               left join job_webhooks h on h.job_id = j.id
               left join webhooks w on w.id = h.webhook_id
               where j.tenant_id = $1 and j.deleted_at is null and j.swept_at is null
                 and j.id < $2
                 and ($3::text is null or j.state = $3)
                 and ($4::text is null or split_part(j.lane, ':', 1) = $4)
                 and ($5::text is null or substr(j.lane, strpos(j.lane, ':') + 1) = $5)
                 and ($7::uuid[] is null or j.id = any($7))
                 and ($8::uuid is null or j.batch_id = $8)
               order by j.id desc limit $6"#,
            tenant.as_uuid(),
            // No cursor is one behind every id: a condition that may be absent could not use the index.
            filter.before.map_or(Uuid::max(), JobId::as_uuid),
            filter.state.map(JobState::as_str),
            filter.pipeline.map(darkroom_jobs::Pipeline::as_str),
            filter.model,
            filter.limit,
            labelled.as_deref(),
            filter.batch.map(BatchId::as_uuid)
        )
        .fetch_all(&mut transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(Job::try_from).collect()
    }

    /// Version, state and progress of each of these jobs that still exists, whoever owns it: for callers that have
    /// checked the owner before.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn job_versions(&self, ids: &[JobId]) -> Result<Vec<JobVersion>, Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query!(
            r#"select j.id, j.version, j.state, a.progress as "progress?"
               from jobs j left join attempts a on a.job_id = j.id and a.number = j.attempt and j.state = 'running'
               where j.id = any($1) and j.deleted_at is null"#,
            &uuids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let at = At { table: "jobs", id: row.id };
                let progress = row.progress.map(|value| at.json("progress", value)).transpose()?;
                Ok(JobVersion {
                    id: JobId::from_uuid(row.id),
                    version: row.version,
                    state: at.word("state", &row.state)?,
                    progress,
                })
            })
            .collect()
    }
}

/// The jobs of a page whose metadata is asked for; `None` where none is. Walks the jobs of the rarest label, newest
/// first, so that a page costs no more than that label has jobs.
async fn labelled(
    transaction: &mut Transaction,
    tenant: TenantId,
    filter: &JobFilter,
) -> Result<Option<Vec<Uuid>>, Error> {
    if filter.metadata.is_empty() {
        return Ok(None);
    }
    let (keys, values): (Vec<String>, Vec<String>) = filter.metadata.clone().into_iter().unzip();
    let ids = sqlx::query_scalar!(
        r#"
        with wanted as (
            select job_label(key, value) as label from unnest($3::text[], $4::text[]) as m (key, value)
        ), rarest as (
            select label from wanted
            order by (select count(*) from (select from job_labels l where l.tenant_id = $1 and l.label = wanted.label
                                            limit 10000) counted)
            limit 1
        )
        select l.job_id
        from job_labels l
        join jobs j on j.id = l.job_id
        join job_requests r on r.job_id = l.job_id
        where l.tenant_id = $1 and l.label = (select label from rarest) and l.job_id < $2
          and r.metadata @> $5 and j.deleted_at is null and j.swept_at is null
          and ($6::text is null or j.state = $6)
          and ($7::text is null or split_part(j.lane, ':', 1) = $7)
          and ($8::text is null or substr(j.lane, strpos(j.lane, ':') + 1) = $8)
        order by l.job_id desc limit $9
        "#,
        tenant.as_uuid(),
        filter.before.map_or(Uuid::max(), JobId::as_uuid),
        &keys,
        &values,
        sqlx::types::Json(&filter.metadata) as _,
        filter.state.map(JobState::as_str),
        filter.pipeline.map(darkroom_jobs::Pipeline::as_str),
        filter.model.as_deref(),
        filter.limit
    )
    .fetch_all(transaction)
    .await?;
    Ok(Some(ids))
}
