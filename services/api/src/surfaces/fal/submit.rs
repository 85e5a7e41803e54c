//! `POST /{owner}/{app}[/{path}]`.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use darkroom_jobs::{Model, WebhookForm};
use darkroom_store::{Job, Repeated};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{WEBHOOK, input, queue, result};
use crate::auth::TenantKey;
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::surfaces::answering::Answering;
use crate::surfaces::call::Call;
use crate::{Error, Submitter, surfaces};

pub(super) async fn enqueue(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    Path((owner, app)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Error> {
    queued(&intake, &jobs, key, &format!("{owner}/{app}"), request).await
}

pub(super) async fn enqueue_path(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    Path((owner, app, path)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Error> {
    queued(&intake, &jobs, key, &format!("{owner}/{app}/{path}"), request).await
}

async fn queued(
    intake: &Intake,
    jobs: &Jobs,
    key: TenantKey,
    app: &str,
    request: Request,
) -> Result<Response, Error> {
    let call = Call::new(key, request.headers())?;
    let (job, answering) = submit(intake, jobs, &call, app, request).await?;
    let mut answer = queue::urls(&job, &jobs.links);
    answer["status"] = "IN_QUEUE".into();
    answer["queue_position"] = queue::position(jobs, &job).await.into();
    Ok(answering.watch(Json(answer).into_response()))
}

/// Waits for the result, as fal's `run` does.
pub(super) async fn run(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response, Error> {
    let call = Call::new(key, request.headers())?;
    let (job, answering) = submit(&intake, &jobs, &call, &app, request).await?;
    let job = call.wait(&jobs, job.id).await?;
    if !job.state.is_final() {
        // It goes on, and a repetition finds it.
        return Ok(result::later().into_response());
    }
    Ok(answering.watch(result::answer(&job, &jobs.links).into_response()))
}

async fn submit(
    intake: &Intake,
    jobs: &Jobs,
    call: &Call,
    app: &str,
    request: Request,
) -> Result<(Job, Answering), Error> {
    let webhook = webhook(request.uri().query());
    let model = surfaces::model_named(intake.catalog(), app).ok_or(Error::NotFound("application"))?;
    let body = intake.read_document(call.tenant(), request).await?;
    let mut document = input::document(model, &body.parse()?)?;
    options(&mut document, &call.headers, model);
    if let Some(url) = webhook {
        document["webhook"] = url.into();
    }
    let received = intake.received(document, body).told_as(WebhookForm::Fal);
    // The client sends a submission up to ten times, and says nothing of it.
    call.submit_once(intake, jobs, received, Some(Repeated::Perhaps)).await
}

/// Where the end is told.
fn webhook(query: Option<&str>) -> Option<String> {
    let mut query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    query.find(|(name, _)| name == WEBHOOK).map(|(_, url)| url.into_owned())
}

/// What the headers ask for.
fn options(document: &mut Value, headers: &HeaderMap, model: &Model) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("x-fal-queue-priority") == Some("low") {
        document["priority"] = "background".into();
    }
    // How long it may wait before it starts; a job has to be done by its deadline.
    let seconds = text("x-fal-request-timeout").and_then(|seconds| seconds.parse::<f64>().ok());
    if let Some(seconds) = seconds.filter(|seconds| (0.0..1e6).contains(seconds)) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a million"
        )]
        let seconds = seconds.ceil() as u64;
        document["deadline_seconds"] = json!((seconds + model.timeout.as_secs()).clamp(1, 2_592_000));
    }
}
