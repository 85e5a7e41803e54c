//! Deliveries as the owners of their endpoints see them.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use darkroom_jobs::{DeliveryId, Event, JobId, TenantId, UnknownWord, WebhookId};
use serde::Deserialize;
use uuid::Uuid;

use crate::rows::At;
use crate::{DeliveryAttempt, Error, Store};

/// An event and an endpoint.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message's id.
    pub id: DeliveryId,
    /// What happened.
    pub event: Event,
    /// To which job; `None` for a test.
    pub job: Option<JobId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it happened.
    pub created_at: DateTime<Utc>,
    /// When it is tried next; `None` unless it is pending.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was taken or given up.
    pub finished_at: Option<DateTime<Utc>>,
    /// Attempts so far, in order.
    pub attempts: Vec<DeliveryAttempt>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is yet to be made, for the first time or again.
    Pending,
    /// It was taken.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Pending, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| UnknownWord {
                what: "state",
                word: word.to_owned(),
                allowed: "pending, delivered, failed",
            })
    }
}

/// Which deliveries to list. Newest first.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Only deliveries in this state.
    pub state: Option<DeliveryState>,
    /// Only deliveries older than this one.
    pub before: Option<DeliveryId>,
    /// At most so many.
    pub limit: i64,
}

/// What became of a wish to send something.
#[derive(Debug, Clone)]
pub enum Sending {
    /// It is pending.
    Pending(Box<Delivery>),
    /// The endpoint is disabled.
    Disabled,
    /// The tenant has no such endpoint, or the endpoint no such delivery.
    NotFound,
}

pub(crate) struct DeliveryRow {
    pub(crate) id: Uuid,
    pub(crate) event: String,
    pub(crate) job_id: Option<Uuid>,
    pub(crate) state: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) next_attempt_at: DateTime<Utc>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    pub(crate) attempts: serde_json::Value,
}

#[derive(Deserialize)]
struct AttemptRow {
    started_at: DateTime<Utc>,
    duration_ms: u64,
    status: Option<u16>,
    error: Option<String>,
    response: Option<String>,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = Error;

    fn try_from(row: DeliveryRow) -> Result<Self, Error> {
        let at = At { table: "webhook_deliveries", id: row.id };
        let (id, state) = (DeliveryId::from_uuid(row.id), at.word("state", &row.state)?);
        let attempts: Vec<AttemptRow> = at.json("attempts", row.attempts)?;
        let attempts = attempts.into_iter().map(|attempt| DeliveryAttempt {
            delivery: id,
            started_at: attempt.started_at,
            duration: Duration::from_millis(attempt.duration_ms),
            status: attempt.status,
            error: attempt.error,
            response: attempt.response,
        });
        Ok(Self {
            id,
            event: at.word("event", &row.event)?,
            job: row.job_id.map(JobId::from_uuid),
            state,
            created_at: row.created_at,
            next_attempt_at: (state == DeliveryState::Pending).then_some(row.next_attempt_at),
            finished_at: row.finished_at,
            attempts: attempts.collect(),
        })
    }
}

impl Store {
    /// How long a delivery is kept once it is finished.
    pub const DELIVERY_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

    /// A page of an endpoint's deliveries, newest first; empty when the tenant has no such endpoint.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn deliveries(
        &self,
        tenant: TenantId,
        webhook: WebhookId,
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
               where d.webhook_id = $1 and w.tenant_id = $2 and w.deleted_at is null and not w.for_jobs
                 and d.id < $3 and ($4::text is null or d.state = $4)
               order by d.id desc limit $5"#,
            webhook.as_uuid(),
            tenant.as_uuid(),
            filter.before.map_or(Uuid::max(), DeliveryId::as_uuid),
            filter.state.map(DeliveryState::as_str),
            filter.limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Delivery::try_from).collect()
    }

    /// Makes a delivery pending again, with the whole schedule before it, whatever became of it.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn resend_delivery(
        &self,
        tenant: TenantId,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Sending, Error> {
        let row = sqlx::query_as!(
            DeliveryRow,
            r#"update webhook_deliveries d
               set state = 'pending', failures = 0, next_attempt_at = now(), finished_at = null
               from webhooks w
               where d.id = $1 and d.webhook_id = $2 and w.id = d.webhook_id and w.tenant_id = $3
                 and w.deleted_at is null and w.disabled_at is null and not w.for_jobs
               returning d.id, d.event, d.job_id, d.state, d.created_at, d.next_attempt_at, d.finished_at,
                      (select coalesce(jsonb_agg(jsonb_build_object(
                              'started_at', a.started_at, 'duration_ms', a.duration_ms, 'status', a.status,
                              'error', a.error, 'response', a.response) order by a.number), '[]')
                       from webhook_attempts a where a.delivery_id = d.id) as "attempts!""#,
            delivery.as_uuid(),
            webhook.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        if let Some(row) = row {
            return Ok(Sending::Pending(Box::new(row.try_into()?)));
        }
        // Told apart from a delivery that is not there: the endpoint's owner can do something about it.
        let there = sqlx::query_scalar!(
            r#"select d.id from webhook_deliveries d join webhooks w on w.id = d.webhook_id
               where d.id = $1 and d.webhook_id = $2 and w.tenant_id = $3 and w.deleted_at is null
                 and not w.for_jobs"#,
            delivery.as_uuid(),
            webhook.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(if there.is_some() { Sending::Disabled } else { Sending::NotFound })
    }

    /// Sends a message to an endpoint that is about no job.
    ///
    /// # Errors
    /// When the database is unavailable; the message may be sent all the same.
    pub async fn send_test(&self, tenant: TenantId, webhook: WebhookId) -> Result<Sending, Error> {
        let row = sqlx::query_as!(
            DeliveryRow,
            r#"insert into webhook_deliveries (id, webhook_id, event)
               select uuid_v7(), id, $3 from webhooks
               where id = $1 and tenant_id = $2 and deleted_at is null and disabled_at is null and not for_jobs
               returning id, event, job_id, state, created_at, next_attempt_at, finished_at,
                         '[]'::jsonb as "attempts!""#,
            webhook.as_uuid(),
            tenant.as_uuid(),
            Event::Test.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        match row {
            Some(row) => Ok(Sending::Pending(Box::new(row.try_into()?))),
            None if self.webhook(tenant, webhook).await?.is_some() => Ok(Sending::Disabled),
            None => Ok(Sending::NotFound),
        }
    }
}
