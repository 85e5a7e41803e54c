//! `GET webhooks/default/secret`: what signs the messages about predictions. The client splits it at its one `_`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use serde_json::{Value, json};

use crate::webhooks::Webhooks;
use crate::{Error, Submitter};

pub(super) async fn show(
    State(webhooks): State<Webhooks>,
    Submitter(key): Submitter,
) -> Result<([(HeaderName, &'static str); 1], Json<Value>), Error> {
    let secret = webhooks.secret(key.tenant).await?.secret;
    Ok(([(CACHE_CONTROL, "no-store")], Json(json!({"key": secret}))))
}
