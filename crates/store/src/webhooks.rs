//! Endpoints of tenants that are told when jobs end.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use darkroom_jobs::{Event, TenantId, UnknownWord, WebhookId};
use secrecy::{ExposeSecret, SecretSlice};
use uuid::Uuid;

use crate::rows::At;
use crate::{Error, Store};

/// An endpoint, as its owner sees it.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where messages are posted to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told.
    pub events: Vec<Event>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its owner last changed it.
    pub updated_at: DateTime<Utc>,
    /// Until when the secret before the current one signs as well.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// First of the failures since the last success.
    pub failing_since: Option<DateTime<Utc>>,
    /// Since when nothing is sent, and why.
    pub disabled: Option<(DateTime<Utc>, DisabledReason)>,
}

/// Why nothing is sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisabledReason {
    /// Its owner wished so.
    Owner,
    /// It answered 410 Gone.
    Gone,
    /// Nothing but failures for [`Store::ENDPOINT_PATIENCE`].
    Failing,
}

impl DisabledReason {
    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

impl FromStr for DisabledReason {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Owner, Self::Gone, Self::Failing]
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .ok_or_else(|| UnknownWord {
                what: "reason",
                word: word.to_owned(),
                allowed: "owner, gone, failing",
            })
    }
}

/// An endpoint to be made.
#[derive(Debug)]
pub struct NewWebhook {
    /// Its id, UUIDv7.
    pub id: WebhookId,
    /// Its owner.
    pub tenant: TenantId,
    /// Where messages are posted to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told.
    pub events: Vec<Event>,
    /// Signs messages; 24 to 64 bytes.
    pub secret: SecretSlice<u8>,
}

/// What its owner changes about an endpoint; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct WebhookChange {
    /// Where messages are posted to.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it is told.
    pub events: Option<Vec<Event>>,
    /// Whether anything is sent.
    pub enabled: Option<bool>,
}

struct WebhookRow {
    id: Uuid,
    url: String,
    description: String,
    events: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    previous_secret_until: Option<DateTime<Utc>>,
    failing_since: Option<DateTime<Utc>>,
    disabled_at: Option<DateTime<Utc>>,
    disabled_reason: Option<String>,
}

impl TryFrom<WebhookRow> for Webhook {
    type Error = Error;

    fn try_from(row: WebhookRow) -> Result<Self, Error> {
        let at = At { table: "webhooks", id: row.id };
        let events = row.events.iter().map(|event| at.word("events", event)).collect::<Result<_, _>>()?;
        let reason = row.disabled_reason.map(|reason| at.word("disabled_reason", &reason)).transpose()?;
        Ok(Self {
            id: WebhookId::from_uuid(row.id),
            url: row.url,
            description: row.description,
            events,
            created_at: row.created_at,
            updated_at: row.updated_at,
            previous_secret_until: row.previous_secret_until,
            failing_since: row.failing_since,
            disabled: row.disabled_at.zip(reason),
        })
    }
}

pub(crate) fn words(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.as_str().to_owned()).collect()
}

impl Store {
    /// Most endpoints of a tenant.
    pub const MAX_WEBHOOKS: i64 = 16;
    /// An endpoint is disabled when it has done nothing but fail for so long.
    pub const ENDPOINT_PATIENCE: Duration = Duration::from_secs(5 * 24 * 3600);
    /// For how long a secret signs after its rotation.
    pub const ROTATION: Duration = Duration::from_secs(24 * 3600);

    /// Makes an endpoint; `None` when its owner has [`Self::MAX_WEBHOOKS`] already.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn create_webhook(&self, new: &NewWebhook) -> Result<Option<Webhook>, Error> {
        let row = sqlx::query_as!(
            WebhookRow,
            "insert into webhooks (id, tenant_id, url, description, events, secret)
             select $1, $2, $3, $4, $5, $6
             where (select count(*) from webhooks where tenant_id = $2 and deleted_at is null and not for_jobs) < $7
             returning id, url, description, events, created_at, updated_at, previous_secret_until, failing_since,
                       disabled_at, disabled_reason",
            new.id.as_uuid(),
            new.tenant.as_uuid(),
            new.url,
            new.description,
            &words(&new.events),
            new.secret.expose_secret(),
            Self::MAX_WEBHOOKS
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Webhook::try_from).transpose()
    }

    /// A tenant's endpoints, oldest first.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn webhooks(&self, tenant: TenantId) -> Result<Vec<Webhook>, Error> {
        let rows = sqlx::query_as!(
            WebhookRow,
            "select id, url, description, events, created_at, updated_at, previous_secret_until, failing_since,
                    disabled_at, disabled_reason
             from webhooks where tenant_id = $1 and deleted_at is null and not for_jobs order by id",
            tenant.as_uuid()
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Webhook::try_from).collect()
    }

    /// A tenant's endpoint. Another tenant's and none at all are answered alike.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn webhook(&self, tenant: TenantId, id: WebhookId) -> Result<Option<Webhook>, Error> {
        let row = sqlx::query_as!(
            WebhookRow,
            "select id, url, description, events, created_at, updated_at, previous_secret_until, failing_since,
                    disabled_at, disabled_reason
             from webhooks where id = $1 and tenant_id = $2 and deleted_at is null and not for_jobs",
            id.as_uuid(),
            tenant.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Webhook::try_from).transpose()
    }

    /// Changes an endpoint; `None` when the tenant has no such one. One that is enabled again, or moved, gets all
    /// of [`Self::ENDPOINT_PATIENCE`] again.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn update_webhook(
        &self,
        tenant: TenantId,
        id: WebhookId,
        change: &WebhookChange,
    ) -> Result<Option<Webhook>, Error> {
        let events = change.events.as_deref().map(words);
        let row = sqlx::query_as!(
            WebhookRow,
            r#"
            update webhooks
            set url = coalesce($3, url), description = coalesce($4, description), events = coalesce($5, events),
                updated_at = now(),
                failing_since = case when $3 <> url or ($6 and disabled_at is not null) then null else failing_since end,
                disabled_at = case when $6 then null when not $6 then coalesce(disabled_at, now()) else disabled_at end,
                disabled_reason =
                    case when $6 then null when not $6 then coalesce(disabled_reason, 'owner') else disabled_reason end
            where id = $1 and tenant_id = $2 and deleted_at is null and not for_jobs
            returning id, url, description, events, created_at, updated_at, previous_secret_until, failing_since,
                      disabled_at, disabled_reason
            "#,
            id.as_uuid(),
            tenant.as_uuid(),
            change.url,
            change.description,
            events.as_deref(),
            change.enabled
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Webhook::try_from).transpose()
    }

    /// Gives an endpoint another secret; the one before signs as well for [`Self::ROTATION`]. `None` when the tenant
    /// has no such endpoint.
    ///
    /// # Errors
    /// When the database is unavailable; the secret may have been replaced then.
    pub async fn rotate_webhook_secret(
        &self,
        tenant: TenantId,
        id: WebhookId,
        secret: &SecretSlice<u8>,
    ) -> Result<Option<Webhook>, Error> {
        let row = sqlx::query_as!(
            WebhookRow,
            "update webhooks
             set previous_secret = secret, previous_secret_until = now() + $4 * interval '1 second', secret = $3,
                 updated_at = now()
             where id = $1 and tenant_id = $2 and deleted_at is null and not for_jobs
             returning id, url, description, events, created_at, updated_at, previous_secret_until, failing_since,
                       disabled_at, disabled_reason",
            id.as_uuid(),
            tenant.as_uuid(),
            secret.expose_secret(),
            Self::ROTATION.as_secs_f64()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Webhook::try_from).transpose()
    }

    /// Deletes an endpoint with its secrets; whether the tenant had it. Its deliveries are swept.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn delete_webhook(&self, tenant: TenantId, id: WebhookId) -> Result<bool, Error> {
        let deleted = sqlx::query!(
            "update webhooks
             set deleted_at = now(), secret = null, previous_secret = null, previous_secret_until = null
             where id = $1 and tenant_id = $2 and deleted_at is null and not for_jobs",
            id.as_uuid(),
            tenant.as_uuid()
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected() > 0)
    }
}
