//! Sending events: what is due, and what became of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use darkroom_jobs::{DeliveryId, Event, JobId, TenantId, WebhookForm, WebhookId};
use secrecy::SecretSlice;

use crate::rows::At;
use crate::{DisabledReason, Error, Store};

/// A delivery that was claimed: to be attempted now.
#[derive(Debug)]
pub struct DueDelivery {
    /// The message's id, the same in every attempt.
    pub id: DeliveryId,
    /// Where it goes.
    pub webhook: WebhookId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is about; `None` for a test.
    pub job: Option<JobId>,
    /// What happened.
    pub event: Event,
    /// When it happened.
    pub created_at: DateTime<Utc>,
    /// Failed attempts since it was made or last resent.
    pub failures: u32,
    /// Where to post to.
    pub url: String,
    /// What it looks like.
    pub form: WebhookForm,
    /// What signs it: the current secret, and during a rotation the one before.
    pub secrets: Vec<SecretSlice<u8>>,
    /// W3C trace context of the job's submission.
    pub traceparent: Option<String>,
    /// When it was claimed, on the database's clock.
    pub claimed_at: DateTime<Utc>,
}

/// A delivery under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Where it goes.
    pub webhook: WebhookId,
    /// Whose it is.
    pub tenant: TenantId,
}

/// How an attempt at a delivery went.
#[derive(Debug, Clone)]
pub struct DeliveryAttempt {
    /// The delivery.
    pub delivery: DeliveryId,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration: Duration,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
    /// Beginning of the answer's body.
    pub response: Option<String>,
}

/// What an attempt means for its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Delivered,
    /// It is to be tried again after this pause.
    Again(Duration),
    /// It is given up.
    GivenUp,
    /// The endpoint is gone: it is given up, and nothing else is sent there.
    Gone,
}

/// Deliveries that have not been made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeliveryBacklog {
    /// How many are pending at endpoints that are enabled.
    pub pending: i64,
    /// Seconds by which the one that has been due longest is late.
    pub late_seconds: f64,
}

impl Store {
    /// How long a claimed delivery is left alone before it is made again: well more than an attempt takes.
    pub const DELIVERY_CLAIM: Duration = Duration::from_secs(60);
    /// Most deliveries at once to an endpoint, and to all endpoints of a tenant, by one courier.
    pub const ENDPOINT_DELIVERIES: i64 = 4;
    /// See [`Self::ENDPOINT_DELIVERIES`].
    pub const TENANT_DELIVERIES: i64 = 16;

    /// Claims due deliveries by moving them ahead, at most one for each endpoint and `limit` in all, those first that
    /// have been due longest. No lock is held while they are made: a courier that dies leaves deliveries that come
    /// due again. With `in_flight`, no endpoint and no tenant gets more than its share.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn claim_deliveries(
        &self,
        in_flight: &[InFlight],
        limit: i64,
    ) -> Result<Vec<DueDelivery>, Error> {
        let webhooks: Vec<_> = in_flight.iter().map(|it| it.webhook.as_uuid()).collect();
        let tenants: Vec<_> = in_flight.iter().map(|it| it.tenant.as_uuid()).collect();
        // Walks the index from endpoint to endpoint and looks at the head of each, so that the thousands waiting for
        // one endpoint cost no more than the one waiting for another.
        let rows = sqlx::query!(
            r#"
            with recursive next (id, webhook_id, next_attempt_at) as (
                (select id, webhook_id, next_attempt_at from webhook_deliveries
                 where state = 'pending' order by webhook_id, next_attempt_at limit 1)
                union all
                select d.id, d.webhook_id, d.next_attempt_at
                from next n
                cross join lateral (
                    select id, webhook_id, next_attempt_at from webhook_deliveries
                    where state = 'pending' and webhook_id > n.webhook_id
                    order by webhook_id, next_attempt_at limit 1
                ) d
            ), head as (
                select n.id, n.next_attempt_at,
                       row_number() over (partition by w.tenant_id order by n.next_attempt_at)
                       + (select count(*) from unnest($3::uuid[]) busy where busy = w.tenant_id) as place
                from next n
                join webhooks w on w.id = n.webhook_id and w.disabled_at is null and w.deleted_at is null
                where n.next_attempt_at <= now()
                  and (select count(*) from unnest($2::uuid[]) busy where busy = w.id) < $4
            ), due as (
                select id from webhook_deliveries
                where id = any(array(select id from head where place <= $5 order by next_attempt_at limit $1))
                  and state = 'pending' and next_attempt_at <= now()
                for update skip locked
            ), claimed as (
                update webhook_deliveries d set next_attempt_at = now() + $6 * interval '1 second'
                from due where d.id = due.id
                returning d.*
            )
            select c.id as "id!", c.webhook_id as "webhook_id!", w.tenant_id, c.job_id, c.event as "event!",
                   c.created_at as "created_at!", c.failures as "failures!", w.url, w.form,
                   case when w.for_jobs then t.webhook_secret else w.secret end as "secret!",
                   case when w.for_jobs and t.previous_webhook_secret_until > now() then t.previous_webhook_secret
                        when w.previous_secret_until > now() then w.previous_secret end as previous_secret,
                   r.traceparent as "traceparent?", now() as "claimed_at!"
            from claimed c
            join webhooks w on w.id = c.webhook_id and w.deleted_at is null
            join tenants t on t.id = w.tenant_id
            left join job_requests r on r.job_id = c.job_id
            "#,
            limit,
            &webhooks,
            &tenants,
            Self::ENDPOINT_DELIVERIES,
            Self::TENANT_DELIVERIES,
            Self::DELIVERY_CLAIM.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        let due = rows.into_iter().map(|row| {
            let at = At { table: "webhook_deliveries", id: row.id };
            Ok(DueDelivery {
                id: DeliveryId::from_uuid(row.id),
                webhook: WebhookId::from_uuid(row.webhook_id),
                tenant: TenantId::from_uuid(row.tenant_id),
                job: row.job_id.map(JobId::from_uuid),
                event: at.word("event", &row.event)?,
                created_at: row.created_at,
                failures: at.integer("failures", row.failures)?,
                url: row.url,
                form: at.word("form", &row.form)?,
                secrets: [Some(row.secret), row.previous_secret]
                    .into_iter()
                    .flatten()
                    .map(SecretSlice::from)
                    .collect(),
                traceparent: row.traceparent,
                claimed_at: row.claimed_at,
            })
        });
        // What a newer release wrote and this one cannot read holds up nothing else. It comes due again.
        let readable = due.filter_map(|due: Result<_, Error>| {
            due.inspect_err(|error| tracing::warn!(%error, "left a delivery alone that cannot be read")).ok()
        });
        Ok(readable.collect())
    }

    /// Writes an attempt down and decides about the delivery, and about the endpoint: the reason for which it is
    /// disabled from now on, if it is. An attempt at a delivery that was finished meanwhile is only written down.
    ///
    /// # Errors
    /// When the database is unavailable; the delivery will be made again.
    pub async fn record_delivery(
        &self,
        attempt: &DeliveryAttempt,
        verdict: Verdict,
    ) -> Result<Option<DisabledReason>, Error> {
        let (state, pause) = match verdict {
            Verdict::Delivered => ("delivered", None),
            Verdict::Again(pause) => ("pending", Some(pause.as_secs_f64())),
            Verdict::GivenUp | Verdict::Gone => ("failed", None),
        };
        // Locks the delivery before its endpoint.
        let disabled = sqlx::query_scalar!(
            r#"
            with delivery as (
                update webhook_deliveries d
                set attempts = d.attempts + 1,
                    failures = case when $2 = 'delivered' then d.failures else d.failures + 1 end,
                    state = case when d.state = 'pending' then $2 else d.state end,
                    next_attempt_at = case when d.state = 'pending' then now() + coalesce($3::float8, 0) * interval '1 second'
                                           else d.next_attempt_at end,
                    finished_at = case when d.state <> 'pending' then d.finished_at
                                       when $2 <> 'pending' then now() end
                where d.id = $1
                returning d.id, d.webhook_id, d.attempts
            ), attempt as (
                insert into webhook_attempts (delivery_id, number, started_at, duration_ms, status, error, response)
                select id, attempts, $4, $5, $6, $7, $8 from delivery
            )
            update webhooks w
            set failing_since = case when $2 = 'delivered' then null else coalesce(w.failing_since, now()) end,
                disabled_at = case when $9 or w.failing_since <= now() - $10 * interval '1 second' and $2 <> 'delivered'
                                   then coalesce(w.disabled_at, now()) else w.disabled_at end,
                disabled_reason = case when w.disabled_at is not null then w.disabled_reason
                                       when $9 then 'gone'
                                       when w.failing_since <= now() - $10 * interval '1 second' and $2 <> 'delivered'
                                       then 'failing' end
            from delivery
            where w.id = delivery.webhook_id and w.disabled_at is null and w.deleted_at is null
              -- Nobody could enable again what jobs name.
              and not w.for_jobs
              -- Most attempts change nothing here, and need not wait for one another.
              and case when $2 = 'delivered' then w.failing_since is not null
                       else $9 or w.failing_since is null or w.failing_since <= now() - $10 * interval '1 second' end
            returning w.disabled_reason
            "#,
            attempt.delivery.as_uuid(),
            state,
            pause,
            attempt.started_at,
            i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX),
            attempt.status.map(i32::from),
            attempt.error,
            attempt.response,
            verdict == Verdict::Gone,
            Self::ENDPOINT_PATIENCE.as_secs_f64()
        )
        .fetch_optional(&self.pool)
        .await?
        .flatten();
        let at = At { table: "webhooks", id: attempt.delivery };
        disabled.map(|reason| at.word("disabled_reason", &reason)).transpose()
    }

    /// How much waits to be delivered.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn delivery_backlog(&self) -> Result<DeliveryBacklog, Error> {
        let row = sqlx::query!(
            r#"select count(*) as "pending!",
                      coalesce(extract(epoch from now() - min(d.next_attempt_at)), 0)::float8 as "late_s!"
               from webhook_deliveries d join webhooks w on w.id = d.webhook_id
               where d.state = 'pending' and w.disabled_at is null and w.deleted_at is null"#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(DeliveryBacklog { pending: row.pending, late_seconds: row.late_s.max(0.0) })
    }

    /// Gives up pending deliveries to endpoints that are disabled; at most `limit` of them.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn give_up_deliveries(&self, limit: i64) -> Result<u64, Error> {
        let given_up = sqlx::query!(
            r#"
            update webhook_deliveries set state = 'failed', finished_at = now()
            where id = any(array(
                select d.id from webhooks w join webhook_deliveries d on d.webhook_id = w.id
                where w.disabled_at is not null and w.deleted_at is null and d.state = 'pending'
                limit $1
                for update of d skip locked
            ))
            "#,
            limit
        )
        .execute(&self.pool)
        .await?;
        Ok(given_up.rows_affected())
    }

    /// Deletes deliveries past their retention, and those of endpoints that are deleted; at most `limit` of them.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn delete_deliveries(&self, limit: i64) -> Result<u64, Error> {
        let deleted = sqlx::query!(
            r#"
            delete from webhook_deliveries where id = any(array(
                (select id from webhook_deliveries where finished_at < now() - $2 * interval '1 second' limit $1)
                union
                (select d.id from webhooks w join webhook_deliveries d on d.webhook_id = w.id
                 where w.deleted_at is not null limit $1)
            ))
            "#,
            limit,
            Self::DELIVERY_RETENTION.as_secs_f64()
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected())
    }

    /// Forgets endpoints that were deleted and have no delivery left; not at once, since an event of a transaction
    /// that is not committed yet may name them.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn forget_webhooks(&self) -> Result<u64, Error> {
        let forgotten = sqlx::query!(
            "delete from webhooks w
             where w.deleted_at < now() - interval '1 hour'
               and not exists (select from webhook_deliveries d where d.webhook_id = w.id)"
        )
        .execute(&self.pool)
        .await?;
        Ok(forgotten.rows_affected())
    }
}
