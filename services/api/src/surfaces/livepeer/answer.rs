//! From a job to an answer.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use darkroom_jobs::{JobState, Pipeline};
use darkroom_store::{Job, Repeated};
use serde_json::{Value, json};

use super::{Failure, IMAGE_TO_TEXT_FAILED, TEXT_TO_IMAGE_FAILED};
use crate::Links;
use crate::intake::{Intake, Received};
use crate::jobs::Jobs;
use crate::prefer::{PREFERENCE_APPLIED, Prefer};
use crate::surfaces::call::Call;

/// Submits a job and answers with its result, or with its id where the caller prefers that.
pub(super) async fn submit(
    intake: &Intake,
    jobs: &Jobs,
    call: Call,
    received: Received,
) -> Result<Response, Failure> {
    let prefer = Prefer::from_headers(&call.headers);
    // Clients that are asked to retry do so after a broken connection as well, and say nothing of it.
    let (job, answering) = call.submit_once(intake, jobs, received, Some(Repeated::Perhaps)).await?;
    if prefer.responds_async() {
        let mut response = (StatusCode::ACCEPTED, Json(json!({"request_id": job.id}))).into_response();
        if let Some(applied) = prefer.applied() {
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
        return Ok(answering.watch(response));
    }
    let job = call.wait(jobs, job.id).await?;
    // How it ended is told for good; who repeats the request after a failure wants another job.
    Ok(match result(job, &jobs.links) {
        Ok(Some(result)) => answering.watch(Json(result).into_response()),
        Ok(None) => Failure::Told(StatusCode::SERVICE_UNAVAILABLE, TOO_LONG.to_owned()).into_response(),
        Err(failure) => answering.watch(failure.into_response()),
    })
}

const TOO_LONG: &str = "the job takes too long: it goes on, and repeating the request waits for it";

/// What a final job is answered with; `None` for one that is not.
pub(super) fn result(job: Job, links: &Links) -> Result<Option<Value>, Failure> {
    match job.state {
        JobState::Queued | JobState::Running => Ok(None),
        JobState::Succeeded => Ok(Some(succeeded(job, links))),
        JobState::Failed | JobState::Canceled | JobState::Expired => Err(failed(&job)),
    }
}

fn succeeded(job: Job, links: &Links) -> Value {
    match job.lane.pipeline() {
        Pipeline::TextToImage => {
            let images = job.artifacts.into_iter().map(|artifact| {
                let url = links.result(artifact.id, &artifact.content_type);
                json!({"url": url, "seed": artifact.seed.unwrap_or_default(), "nsfw": artifact.nsfw})
            });
            json!({"images": images.collect::<Vec<_>>()})
        }
        Pipeline::ImageToText => {
            let text = job.artifacts.into_iter().find_map(|artifact| artifact.text);
            json!({"text": text.unwrap_or_default()})
        }
    }
}

fn failed(job: &Job) -> Failure {
    match &job.failure {
        Some(failure) if failure.class.is_refusal() => Failure::of_model(&failure.message),
        _ => {
            let message = match job.lane.pipeline() {
                Pipeline::TextToImage => TEXT_TO_IMAGE_FAILED,
                Pipeline::ImageToText => IMAGE_TO_TEXT_FAILED,
            };
            Failure::Told(StatusCode::INTERNAL_SERVER_ERROR, message.to_owned())
        }
    }
}
