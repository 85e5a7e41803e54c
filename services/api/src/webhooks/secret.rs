//! `GET /v1/webhooks/secret`, `POST /v1/webhooks/secret/rotate`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use darkroom_jobs::TenantId;
use darkroom_store::JobWebhookSecret;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Webhooks, resource};
use crate::deadline::bounded;
use crate::jobs::resource::Timestamp;
use crate::{Error, Submitter};

const NOT_STORED: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

/// What signs the messages that jobs ask for themselves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookSecret {
    /// The secret, by the Standard Webhooks specification.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub(crate) secret: String,
    /// Until when messages carry a signature with the secret before the last rotation as well; null when there was none.
    previous_secret_until: Option<Timestamp>,
}

impl From<JobWebhookSecret> for WebhookSecret {
    fn from(found: JobWebhookSecret) -> Self {
        Self {
            secret: resource::written(found.secret.expose_secret()),
            previous_secret_until: found.previous_until.map(Timestamp),
        }
    }
}

impl Webhooks {
    /// The secret of a tenant's jobs.
    pub(crate) async fn secret(&self, tenant: TenantId) -> Result<WebhookSecret, Error> {
        let secret = bounded(self.store.webhook_secret(tenant)).await?.ok_or(Error::Unauthorized)?;
        Ok(secret.into())
    }
}

/// Show the secret of jobs' webhooks.
///
/// Messages to the `webhook` of a job are signed with it, whatever their form. Webhooks made by themselves have secrets of
/// their own.
#[utoipa::path(
    get,
    path = "/v1/webhooks/secret",
    operation_id = "show_job_webhook_secret",
    tag = "webhooks",
    responses(
        (status = 200, description = "The secret, the same until it is replaced.", body = WebhookSecret),
    ),
    security(("key" = []))
)]
pub(crate) async fn secret(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
) -> Result<([(HeaderName, &'static str); 1], Json<WebhookSecret>), Error> {
    Ok((NOT_STORED, Json(webhooks.secret(key.tenant).await?)))
}

/// Replace the secret of jobs' webhooks.
///
/// For the next 24 hours messages are signed with both, so that receivers can be changed meanwhile.
#[utoipa::path(
    post,
    path = "/v1/webhooks/secret/rotate",
    operation_id = "rotate_job_webhook_secret",
    tag = "webhooks",
    responses(
        (status = 200, description = "The new secret.", body = WebhookSecret),
    ),
    security(("key" = []))
)]
pub(crate) async fn rotate_secret(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
) -> Result<([(HeaderName, &'static str); 1], Json<WebhookSecret>), Error> {
    let new = webhooks.mint.secret().to_vec().into();
    let rotated = bounded(webhooks.store.replace_webhook_secret(key.tenant, new)).await?;
    Ok((NOT_STORED, Json(rotated.ok_or(Error::Unauthorized)?.into())))
}
