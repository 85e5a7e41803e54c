//! Webhooks and deliveries as the API shows them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_store::{Delivery, DeliveryAttempt, Webhook};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::jobs::resource::Timestamp;
use crate::openapi::words;

/// An endpoint that is told when jobs end.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookView {
    /// Its id.
    pub(super) id: Uuid,
    /// Where messages are posted to.
    #[schema(example = "https://shop.example/hooks/darkroom")]
    url: String,
    /// What it is for.
    description: String,
    /// What it is told: `job.succeeded`, `job.failed`, `job.canceled`, `job.expired`.
    #[schema(value_type = Vec<words::JobEvent>)]
    events: Vec<&'static str>,
    /// Whether anything is sent.
    enabled: bool,
    /// Why nothing is: `owner`, `gone` (it answered 410) or `failing` (for five days); null while it is enabled.
    disabled_reason: Option<&'static str>,
    /// Since when nothing is.
    disabled_at: Option<Timestamp>,
    /// First of the failures since the last success; null while it works.
    failing_since: Option<Timestamp>,
    /// Until when messages carry a signature with the secret before the last rotation as well.
    previous_secret_until: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last changed.
    updated_at: Timestamp,
}

/// A webhook with its secret, which is not shown again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub(super) webhook: WebhookView,
    /// What its messages are signed with, by the Standard Webhooks specification.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

/// An event on its way to an endpoint.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    /// Its id, which messages carry as `webhook-id`: the same in every attempt.
    id: Uuid,
    /// What happened.
    #[schema(example = "job.succeeded")]
    event: &'static str,
    /// Id of the job; null for a test.
    job: Option<Uuid>,
    /// `pending`, `delivered` or `failed`.
    #[schema(value_type = words::DeliveryState)]
    state: &'static str,
    /// When it happened.
    created_at: Timestamp,
    /// When it is tried next; null unless it is pending.
    next_attempt_at: Option<Timestamp>,
    /// When it was taken or given up.
    finished_at: Option<Timestamp>,
    /// Attempts so far, in order.
    attempts: Vec<AttemptView>,
}

/// An attempt at a delivery.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = DeliveryAttempt)]
pub(crate) struct AttemptView {
    /// When it began.
    started_at: Timestamp,
    /// How long it took, in milliseconds.
    #[schema(value_type = u64)]
    duration_ms: u128,
    /// Status of the answer; null when there was none.
    status: Option<u16>,
    /// Why there was none.
    error: Option<String>,
    /// The first 1,024 bytes of the answer's body.
    response: Option<String>,
}

impl WebhookWithSecret {
    /// `webhook` with its secret as receivers' libraries take it.
    pub(super) fn new(webhook: Webhook, secret: &[u8; 32]) -> Self {
        Self { webhook: webhook.into(), secret: written(secret) }
    }
}

/// A secret as receivers' libraries take it. The alphabet has no `_`, at which some split it.
pub(super) fn written(secret: &[u8]) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(secret))
}

impl From<Webhook> for WebhookView {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: webhook.id.as_uuid(),
            url: webhook.url,
            description: webhook.description,
            events: webhook.events.into_iter().map(darkroom_jobs::Event::as_str).collect(),
            enabled: webhook.disabled.is_none(),
            disabled_reason: webhook.disabled.map(|(_, reason)| reason.as_str()),
            disabled_at: webhook.disabled.map(|(since, _)| Timestamp(since)),
            failing_since: webhook.failing_since.map(Timestamp),
            previous_secret_until: webhook.previous_secret_until.map(Timestamp),
            created_at: Timestamp(webhook.created_at),
            updated_at: Timestamp(webhook.updated_at),
        }
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id.as_uuid(),
            event: delivery.event.as_str(),
            job: delivery.job.map(darkroom_jobs::JobId::as_uuid),
            state: delivery.state.as_str(),
            created_at: Timestamp(delivery.created_at),
            next_attempt_at: delivery.next_attempt_at.map(Timestamp),
            finished_at: delivery.finished_at.map(Timestamp),
            attempts: delivery.attempts.into_iter().map(AttemptView::from).collect(),
        }
    }
}

impl From<DeliveryAttempt> for AttemptView {
    fn from(attempt: DeliveryAttempt) -> Self {
        Self {
            started_at: Timestamp(attempt.started_at),
            duration_ms: attempt.duration.as_millis(),
            status: attempt.status,
            error: attempt.error,
            response: attempt.response,
        }
    }
}
