//! `POST /v1/jobs`.

mod dry_run;
pub(crate) mod schema;

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{ETAG, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use darkroom_store::Job;

use super::Jobs;
use crate::intake::{Accepted, Intake, Terms};
use crate::prefer::{PREFERENCE_APPLIED, Prefer};
use crate::{Error, JobView, Submitter, etag};
use dry_run::Mode;
use schema::{JobOrDryRun, Submission, Upload};

pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// When to look again, for callers that poll without waiting.
const LOOK_AGAIN_S: u64 = 1;

/// Submit a job.
///
/// As `application/json`, or as `multipart/form-data` with the same document as part `job` and a picture as
/// part `image`, in any order. With `dry_run=true` everything is checked, and nothing stored.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "submit_job",
    tag = "jobs",
    params(
        ("dry_run" = Option<bool>, Query,
         description = "`true`: say what would become of the submission, with price and place in the queue, and make no job."),
        ("Idempotency-Key" = Option<String>, Header,
         description = "1 to 255 visible ASCII characters. A repeated submission with the same key finds the first one's job."),
        ("Prefer" = Option<String>, Header,
         description = "`wait=N`: hold until the job is final, for at most N seconds, 1 to 60. `respond-async`: do not."),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, carried through to the worker."),
    ),
    request_body(
        description = "At most 1 MiB of JSON, 16 MiB with data URIs, and a picture of at most 52,428,800 bytes.",
        content((Submission = "application/json"), (Upload = "multipart/form-data"))
    ),
    responses(
        (status = 202, description = "The job is accepted.", body = JobView, headers(
            ("Location" = String, description = "Where to look."),
            ("Retry-After" = u64, description = "When to look, in seconds."),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the job was there before.")
        )),
        (status = 200, description = "The job is final already, or `dry_run` is `true`.", body = JobOrDryRun),
        (status = 400, description = "`malformed_body`, `invalid_header`, `unknown_model`, `unsupported_image` or \
         `image_dimensions`."),
        (status = 410, description = "The job of this Idempotency-Key is deleted."),
        (status = 413, description = "The body or the picture is too large."),
        (status = 415, description = "Neither of the two media types."),
        (status = 422, description = "Every field that cannot be used, or `idempotency_key_reused`."),
        (status = 429, description = "`queue_limit`, `daily_cost_limit` or `interactive_limit`: see `Retry-After`."),
    ),
    security(("key" = []))
)]
pub(crate) async fn submit(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Error> {
    let mode = dry_run::mode(query.as_deref().unwrap_or_default())?;
    let prefer = Prefer::from_headers(request.headers());
    let terms = Terms::of(key, request.headers())?;
    let received = intake.receive(key.tenant, request).await?;
    if mode == Mode::DryRun {
        let trial = intake.try_out(terms, received).await?;
        return Ok(Json(jobs.dry_run(trial).await).into_response());
    }
    let Accepted { mut job, replayed } = intake.accept(terms, received).await?;
    if let Some(wait) = prefer.wait()
        && !job.state.is_final()
    {
        job = jobs.hold_accepted(job, wait).await;
    }
    let mut headers = headers(&job)?;
    if replayed.is_some() {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(applied) = prefer.applied() {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    let status = if job.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let view = if replayed.is_some() { jobs.view(job).await } else { jobs.view_accepted(job).await };
    Ok((status, headers, Json(view)).into_response())
}

fn headers(job: &Job) -> Result<HeaderMap, Error> {
    let value = |text: String| HeaderValue::try_from(text).map_err(Error::internal);
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, value(format!("/v1/jobs/{}", job.id))?);
    headers.insert(ETAG, value(etag::of_version(job.version))?);
    if !job.state.is_final() {
        headers.insert(RETRY_AFTER, LOOK_AGAIN_S.into());
    }
    Ok(headers)
}
