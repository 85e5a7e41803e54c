//! Batches: many jobs that are accepted at once, or not at all.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use darkroom_jobs::{BatchId, FileId, JobState, TenantId};
use serde_json::Value;
use uuid::Uuid;

use crate::accept::together::insert_jobs;
use crate::pool::Transaction;
use crate::rows::At;
use crate::webhooks::words;
use crate::{Error, Idempotency, NewJob, Store};

/// A batch to be accepted.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Its id, UUIDv7.
    pub id: BatchId,
    /// Its owner, and that of its jobs.
    pub tenant: TenantId,
    /// Its jobs, without idempotency keys of their own; at least one.
    pub jobs: Vec<NewJob>,
    /// What its owner is told of each document.
    pub items: Value,
    /// Key under which a repeated submission finds this batch.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request.
    pub request_hash: [u8; 32],
}

/// A batch as its owner sees it.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// How many of its jobs are in each state; those that are deleted are left out.
    pub counts: BTreeMap<JobState, u64>,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub enum AcceptedBatch {
    /// All of its jobs are accepted.
    Created(Batch),
    /// The batch an earlier submission with the same key and request made, and what became of each document.
    Replayed(Batch, Value),
    /// The key belongs to another request.
    KeyReused,
    /// One of these files is not there any more; nothing was accepted.
    FilesGone(Vec<FileId>),
}

/// Whether the rows of a batch were made.
enum Made {
    Yes,
    /// The id or the idempotency key is taken.
    No,
    FilesGone(Vec<FileId>),
}

impl Store {
    /// Accepts all jobs of a batch with their webhooks, in one transaction. Where the connection breaks before the answer
    /// is there, it is done once more: the batch's id tells whether the first transaction was committed.
    ///
    /// # Errors
    /// When the database is unavailable; the batch may have been accepted then, and a repeated call with the same
    /// idempotency key finds it.
    pub async fn accept_batch(&self, new: &NewBatch) -> Result<AcceptedBatch, Error> {
        let made = match self.insert_batch(new).await {
            Err(error) if error.is_interruption() || error.is_undone() => self.insert_batch(new).await?,
            made => made?,
        };
        if let Made::FilesGone(files) = made {
            return Ok(AcceptedBatch::FilesGone(files));
        }
        if let Some(batch) = self.batch(new.tenant, new.id).await? {
            self.pending.outbox();
            return Ok(AcceptedBatch::Created(batch));
        }
        let key = new.idempotency_key.as_deref().unwrap_or_default();
        let found =
            self.replay_batch(new.tenant, Idempotency { key, request_hash: &new.request_hash }).await?;
        found.ok_or(Error::Missing { what: "batch", name: new.id.to_string() })
    }

    async fn insert_batch(&self, new: &NewBatch) -> Result<Made, Error> {
        let mut transaction = self.pool.begin().await?;
        let made = sqlx::query_scalar!(
            "insert into batches (id, tenant_id, idempotency_key, request_hash, items) values ($1, $2, $3, $4, $5)
             on conflict do nothing returning id",
            new.id.as_uuid(),
            new.tenant.as_uuid(),
            new.idempotency_key,
            &new.request_hash[..],
            new.items
        )
        .fetch_optional(&mut transaction)
        .await?;
        if made.is_none() {
            transaction.roll_back().await?;
            return Ok(Made::No);
        }
        let gone = use_files(&mut transaction, new).await?;
        if !gone.is_empty() {
            transaction.roll_back().await?;
            return Ok(Made::FilesGone(gone));
        }
        let jobs: Vec<&NewJob> = new.jobs.iter().collect();
        insert_jobs(&mut transaction, &jobs, Some(new.id)).await?;
        insert_webhooks(&mut transaction, new).await?;
        transaction.commit().await?;
        Ok(Made::Yes)
    }

    /// The answer to a submission whose key is known already; `None` for a new key.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn replay_batch(
        &self,
        tenant: TenantId,
        with: Idempotency<'_>,
    ) -> Result<Option<AcceptedBatch>, Error> {
        let row = sqlx::query!(
            "select id, request_hash, items from batches where tenant_id = $1 and idempotency_key = $2",
            tenant.as_uuid(),
            with.key
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.request_hash != with.request_hash {
            return Ok(Some(AcceptedBatch::KeyReused));
        }
        let batch = self.batch(tenant, BatchId::from_uuid(row.id)).await?;
        Ok(batch.map(|batch| AcceptedBatch::Replayed(batch, row.items)))
    }

    /// A tenant's batch. Another tenant's batch and no batch at all are answered alike.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn batch(&self, tenant: TenantId, id: BatchId) -> Result<Option<Batch>, Error> {
        let row = sqlx::query!(
            "select created_at from batches where id = $1 and tenant_id = $2",
            id.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let counts = sqlx::query!(
            r#"select state, count(*) as "jobs!" from jobs
               where batch_id = $1 and tenant_id = $2 and deleted_at is null and swept_at is null group by state"#,
            id.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_all(&self.pool)
        .await?;
        let at = At { table: "jobs", id: id.as_uuid() };
        let counts = counts
            .into_iter()
            .map(|count| Ok((at.word("state", &count.state)?, at.integer("count", count.jobs)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Some(Batch { id, created_at: row.created_at, counts }))
    }

    /// Drops batches whose jobs are all gone and whose idempotency key need not answer any more.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn forget_batches(&self) -> Result<u64, Error> {
        let deleted = sqlx::query!(
            "delete from batches where created_at < now() - $1 * interval '1 second'
                                   and not exists (select from jobs where batch_id = batches.id)",
            Self::KEEP_KEY_SECONDS
        );
        Ok(deleted.execute(&self.pool).await?.rows_affected())
    }
}

/// Locks the files that a batch names, in one order, and notes that they are used; those that are gone are returned.
/// See [`crate::files`] for what the locks are for.
async fn use_files(transaction: &mut Transaction, new: &NewBatch) -> Result<Vec<FileId>, Error> {
    let named: std::collections::BTreeSet<FileId> = new.jobs.iter().filter_map(|job| job.file).collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = named.iter().map(|id| id.as_uuid()).collect();
    let found = sqlx::query_scalar!(
        "select id from files
         where id = any($1) and tenant_id = $2 and deleted_at is null and expires_at > now()
         order by id for update",
        &ids,
        new.tenant.as_uuid()
    )
    .fetch_all(&mut *transaction)
    .await?;
    sqlx::query!(
        "update files set expires_at = greatest(expires_at, now() + $2 * interval '1 second') where id = any($1)",
        &found,
        Store::KEEP_FILE_SECONDS
    )
    .execute(transaction)
    .await?;
    Ok(named.into_iter().filter(|id| !found.contains(&id.as_uuid())).collect())
}

/// The webhooks that jobs of a batch name: one endpoint for each URL and form, as in [`Store::accept`].
async fn insert_webhooks(transaction: &mut Transaction, new: &NewBatch) -> Result<(), Error> {
    let named = || new.jobs.iter().filter_map(|job| Some((job, job.submission.options.webhook.as_ref()?)));
    if named().next().is_none() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        with item as (
            select job_id, form, url, string_to_array(events, ' ') as events
            from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as i (job_id, form, url, events)
        ), named as (
            select distinct form, url from item
        ), known as (
            -- Locked against the sweeper.
            select w.id, w.form, w.url from named n join webhooks w on w.form = n.form and w.url = n.url
            where w.tenant_id = $5 and w.for_jobs
            for key share of w
        ), made as (
            -- In order, so that two batches cannot wait for each other.
            insert into webhooks (id, tenant_id, url, description, events, form, for_jobs)
            select uuid_v7(), $5, n.url, '', '{}', n.form, true
            from named n where not exists (select from known k where k.form = n.form and k.url = n.url)
            order by n.form, n.url
            on conflict (tenant_id, form, url) where for_jobs do update set updated_at = now()
            returning id, form, url
        )
        insert into job_webhooks (job_id, webhook_id, events)
        select i.job_id, e.id, i.events
        from item i join (select * from known union all select * from made) e on e.form = i.form and e.url = i.url
        "#,
        &named().map(|(job, _)| job.id.as_uuid()).collect::<Vec<_>>(),
        &named().map(|(_, webhook)| webhook.form.as_str().to_owned()).collect::<Vec<_>>(),
        &named().map(|(_, webhook)| webhook.url.clone()).collect::<Vec<_>>(),
        &named().map(|(_, webhook)| words(&webhook.events).join(" ")).collect::<Vec<_>>(),
        new.tenant.as_uuid()
    )
    .execute(transaction)
    .await?;
    Ok(())
}
