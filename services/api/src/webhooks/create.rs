//! `POST /v1/webhooks`.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use darkroom_jobs::{Event, WebhookId};
use darkroom_store::NewWebhook;
use utoipa::ToSchema;

use super::Webhooks;
use super::document::Document;
use super::resource::WebhookWithSecret;
use crate::deadline::bounded;
use crate::openapi::words;
use crate::{Error, Submitter};

/// A webhook to be made. Null counts as absent.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(as = NewWebhook)]
pub(crate) struct NewWebhookSchema {
    /// Where messages are posted to: an http or https URL of at most 2,048 bytes that leads to a public address.
    #[schema(example = "https://shop.example/hooks/darkroom")]
    url: String,
    /// What it is told, at least one; all of them unless given.
    #[schema(example = json!(["job.succeeded", "job.failed"]))]
    events: Option<Vec<words::JobEvent>>,
    /// What it is for, at most 256 characters.
    description: Option<String>,
}

/// Make a webhook.
///
/// The answer has the secret that its messages are signed with, which is not shown again.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    operation_id = "create_webhook",
    tag = "webhooks",
    request_body = NewWebhookSchema,
    responses(
        (status = 201, description = "The webhook with its secret.", body = WebhookWithSecret, headers(
            ("Location" = String, description = "The webhook.")
        )),
        (status = 409, description = "`too_many_webhooks`: there are 16 already."),
        (status = 422, description = "Every member that cannot be used."),
    ),
    security(("key" = []))
)]
pub(crate) async fn create(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
    document: Document,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 2], Json<WebhookWithSecret>), Error> {
    let (url, wanted) = document.creation(&webhooks.guard)?;
    let secret = webhooks.mint.secret();
    let new = NewWebhook {
        id: WebhookId::from_uuid(webhooks.mint.uuid()),
        tenant: key.tenant,
        url,
        description: wanted.description.unwrap_or_default(),
        events: wanted.events.unwrap_or_else(|| Event::FINAL.into()),
        secret: secret.to_vec().into(),
    };
    let made = bounded(webhooks.store.create_webhook(&new)).await?.ok_or(Error::TooManyWebhooks)?;
    let location = HeaderValue::try_from(format!("/v1/webhooks/{}", made.id)).map_err(Error::internal)?;
    let headers = [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, headers, Json(WebhookWithSecret::new(made, &secret))))
}
