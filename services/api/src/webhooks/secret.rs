//! `GET /v1/webhooks/secret`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use darkroom_jobs::TenantId;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Webhooks, resource};
use crate::deadline::bounded;
use crate::{Error, Submitter};

/// What signs the messages that jobs ask for themselves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookSecret {
    /// The secret, by the Standard Webhooks specification.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

impl Webhooks {
    /// The secret of a tenant's jobs, as receivers' libraries take it.
    pub(crate) async fn secret(&self, tenant: TenantId) -> Result<String, Error> {
        let secret = bounded(self.store.webhook_secret(tenant)).await?.ok_or(Error::Unauthorized)?;
        Ok(resource::written(secret.expose_secret()))
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
        (status = 200, description = "The secret, always the same.", body = WebhookSecret),
    ),
    security(("key" = []))
)]
pub(crate) async fn secret(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
) -> Result<([(HeaderName, &'static str); 1], Json<WebhookSecret>), Error> {
    let secret = webhooks.secret(key.tenant).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(WebhookSecret { secret })))
}
