//! `POST /v1/batches`.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::BatchView;
use crate::intake::{BatchItem, Intake, Terms};
use crate::jobs::submit::REPLAYED;
use crate::jobs::submit::schema::{Submission, SubmittedWebhook};
use crate::{Error, Submitter};

/// Jobs to be done. Unknown fields are refused; null counts as absent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewBatch, example = json!({
    "jobs": [{"pipeline": "text-to-image", "input": {"prompt": "a red circle on white"}}]
}))]
pub(crate) struct NewBatchSchema {
    /// 1 to 1,000 documents, as `POST /v1/jobs` takes them.
    #[schema(value_type = Vec<Submission>, min_items = 1, max_items = 1000)]
    jobs: Vec<Value>,
    /// Whether those that can be accepted are, where others cannot; false when absent.
    partial: Option<bool>,
    /// Where it is told what becomes of the jobs that name no webhook themselves.
    #[schema(value_type = Option<SubmittedWebhook>)]
    webhook: Option<Value>,
}

/// A batch that was accepted, and what became of each document.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AcceptedBatch)]
pub(crate) struct AcceptedBatchView {
    #[serde(flatten)]
    batch: BatchView,
    /// One for each document, in their order.
    #[schema(value_type = Vec<BatchItem>)]
    jobs: Value,
}

/// Submit many jobs at once.
///
/// All are accepted, or none is; with `partial` those that can be.
#[utoipa::path(
    post,
    path = "/v1/batches",
    operation_id = "submit_batch",
    tag = "batches",
    params(
        ("Idempotency-Key" = Option<String>, Header,
         description = "1 to 255 visible ASCII characters. A repeated submission with the same key finds the first one's batch."),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, carried through to the workers."),
    ),
    request_body(
        description = "At most 1 MiB of JSON, 16 MiB with data URIs.",
        content((NewBatchSchema = "application/json"))
    ),
    responses(
        (status = 202, description = "The batch is accepted.", body = AcceptedBatchView, headers(
            ("Location" = String, description = "Where to look."),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the batch was there before.")
        )),
        (status = 400, description = "`malformed_body` or `invalid_header`."),
        (status = 422, description = "Every field that cannot be used, or `idempotency_key_reused`."),
        (status = 429, description = "`queue_limit`, `daily_cost_limit` or `interactive_limit`: see `Retry-After`."),
    ),
    security(("key" = []))
)]
pub(crate) async fn submit(
    State(intake): State<Intake>,
    Submitter(key): Submitter,
    request: Request,
) -> Result<Response, Error> {
    let terms = Terms::of(key, request.headers())?;
    let body = intake.receive_batch(key.tenant, request).await?;
    let accepted = intake.accept_batch(terms, body).await?;
    let batch = BatchView::from(&accepted.batch);
    let mut headers = HeaderMap::new();
    let location = HeaderValue::try_from(format!("/v1/batches/{}", accepted.batch.id));
    headers.insert(LOCATION, location.map_err(Error::internal)?);
    if accepted.replayed.is_some() {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    let view = AcceptedBatchView { batch, jobs: accepted.items };
    Ok((StatusCode::ACCEPTED, headers, Json(view)).into_response())
}
