//! Endpoints that jobs name: one for each tenant, URL and form, made with the first job that names it
//! ([`Store::accept`]), and swept after the last.

use std::time::Duration;

use chrono::{DateTime, Utc};
use darkroom_jobs::{DeliveryId, JobId, TenantId};
use secrecy::{ExposeSecret, SecretSlice};
use uuid::Uuid;

use crate::deliveries::DeliveryRow;
use crate::{Delivery, DeliveryFilter, DeliveryState, Error, Store};

/// What signs the messages that jobs of a tenant ask for themselves.
#[derive(Debug)]
pub struct JobWebhookSecret {
    /// The key.
    pub secret: SecretSlice<u8>,
    /// Until when the one before signs as well.
    pub previous_until: Option<DateTime<Utc>>,
}

impl Store {
    /// How long an endpoint is kept that no job names: a URL may be named again soon.
    const UNUSED_ENDPOINT: Duration = Duration::from_secs(3600);

    /// What signs the messages that jobs of this tenant ask for themselves; `None` when there is no such tenant.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn webhook_secret(&self, tenant: TenantId) -> Result<Option<JobWebhookSecret>, Error> {
        let row = sqlx::query!(
            "select webhook_secret, previous_webhook_secret_until from tenants where id = $1",
            tenant.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| JobWebhookSecret {
            secret: row.webhook_secret.into(),
            previous_until: row.previous_webhook_secret_until,
        }))
    }

    /// Replaces what signs the messages that jobs of this tenant ask for themselves; the secret before signs as well for
    /// [`Self::ROTATION`]. `None` when there is no such tenant.
    ///
    /// # Errors
    /// When the database is unavailable; the secret may have been replaced then.
    pub async fn replace_webhook_secret(
        &self,
        tenant: TenantId,
        secret: SecretSlice<u8>,
    ) -> Result<Option<JobWebhookSecret>, Error> {
        let until = sqlx::query_scalar!(
            "update tenants
             set previous_webhook_secret = webhook_secret, webhook_secret = $2,
                 previous_webhook_secret_until = now() + $3 * interval '1 second'
             where id = $1
             returning previous_webhook_secret_until",
            tenant.as_uuid(),
            secret.expose_secret(),
            Self::ROTATION.as_secs_f64()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(until.map(|previous_until| JobWebhookSecret { secret, previous_until }))
    }

    /// A page of what was sent to a job's own endpoint, newest first; empty when the tenant has no such job, or that no
    /// endpoint.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn job_deliveries(
        &self,
        tenant: TenantId,
        job: JobId,
        filter: &DeliveryFilter,
    ) -> Result<Vec<Delivery>, Error> {
        let rows = sqlx::query_as!(
            DeliveryRow,
            r#"select d.id, d.event, d.job_id, d.state, d.created_at, d.next_attempt_at, d.finished_at,
                      (select coalesce(jsonb_agg(jsonb_build_object(
                              'started_at', a.started_at, 'duration_ms', a.duration_ms, 'status', a.status,
                              'error', a.error, 'response', a.response) order by a.number), '[]')
                       from webhook_attempts a where a.delivery_id = d.id) as "attempts!"
               from webhook_deliveries d join webhooks w on w.id = d.webhook_id
               where d.job_id = $1 and w.tenant_id = $2 and w.for_jobs
                 and d.id < $3 and ($4::text is null or d.state = $4)
               order by d.id desc limit $5"#,
            job.as_uuid(),
            tenant.as_uuid(),
            filter.before.map_or(Uuid::max(), DeliveryId::as_uuid),
            filter.state.map(DeliveryState::as_str),
            filter.limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Delivery::try_from).collect()
    }

    /// Makes a delivery to a job's own endpoint pending again, with the whole schedule before it, whatever became of it.
    /// `None` when the tenant has no such job, or that no such delivery.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn resend_job_delivery(
        &self,
        tenant: TenantId,
        job: JobId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, Error> {
        let row = sqlx::query_as!(
            DeliveryRow,
            r#"update webhook_deliveries d
               set state = 'pending', failures = 0, next_attempt_at = now(), finished_at = null
               from webhooks w
               where d.id = $1 and d.job_id = $2 and w.id = d.webhook_id and w.tenant_id = $3 and w.for_jobs
               returning d.id, d.event, d.job_id, d.state, d.created_at, d.next_attempt_at, d.finished_at,
                      (select coalesce(jsonb_agg(jsonb_build_object(
                              'started_at', a.started_at, 'duration_ms', a.duration_ms, 'status', a.status,
                              'error', a.error, 'response', a.response) order by a.number), '[]')
                       from webhook_attempts a where a.delivery_id = d.id) as "attempts!""#,
            delivery.as_uuid(),
            job.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Delivery::try_from).transpose()
    }

    /// Forgets endpoints that no job names and for which nothing is pending, with their deliveries; at most `limit` of
    /// each. Says how many rows were deleted.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn forget_unused_webhooks(&self, limit: i64) -> Result<u64, Error> {
        let mut transaction = self.pool.begin().await?;
        // Nobody begins to name them until the commit; what somebody is about to name is left alone.
        let unused = sqlx::query_scalar!(
            "select id from webhooks where unused_since < now() - $2 * interval '1 second'
             order by unused_since limit $1
             for update skip locked",
            limit,
            Self::UNUSED_ENDPOINT.as_secs_f64()
        )
        .fetch_all(&mut transaction)
        .await?;
        if unused.is_empty() {
            transaction.roll_back().await?;
            return Ok(0);
        }
        let deliveries = sqlx::query!(
            r#"
            delete from webhook_deliveries where id = any(array(
                select d.id from webhook_deliveries d
                where d.webhook_id = any($1) and d.state <> 'pending'
                  and not exists (select from job_webhooks j where j.webhook_id = d.webhook_id)
                limit $2
            ))
            "#,
            &unused,
            limit
        )
        .execute(&mut transaction)
        .await?;
        let endpoints = sqlx::query!(
            "delete from webhooks w
             where id = any($1) and not exists (select from job_webhooks j where j.webhook_id = w.id)
               and not exists (select from webhook_deliveries d where d.webhook_id = w.id)",
            &unused
        )
        .execute(&mut transaction)
        .await?;
        // Which of the others are named, the next of their jobs to be swept notes; the rest is looked at again later.
        sqlx::query!(
            "update webhooks w
             set unused_since =
                 case when not exists (select from job_webhooks j where j.webhook_id = w.id) then now() end
             where id = any($1)
               and (exists (select from job_webhooks j where j.webhook_id = w.id)
                    or exists (select from webhook_deliveries d where d.webhook_id = w.id and d.state = 'pending'))",
            &unused
        )
        .execute(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok(deliveries.rows_affected() + endpoints.rows_affected())
    }
}
