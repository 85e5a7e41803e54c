//! `POST /text-to-image/result`, `POST /image-to-text/result`: what became of a request that did not wait.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use darkroom_jobs::{JobId, Pipeline};
use serde_json::json;

use super::lax::Members;
use super::{Failure, answer};
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::{Error, Reader};

pub(super) async fn text_to_image(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    reader: Reader,
    request: Request,
) -> Result<Response, Failure> {
    result(Pipeline::TextToImage, &intake, &jobs, reader, request).await
}

pub(super) async fn image_to_text(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    reader: Reader,
    request: Request,
) -> Result<Response, Failure> {
    result(Pipeline::ImageToText, &intake, &jobs, reader, request).await
}

async fn result(
    pipeline: Pipeline,
    intake: &Intake,
    jobs: &Jobs,
    Reader(tenant): Reader,
    request: Request,
) -> Result<Response, Failure> {
    let body = intake.read_document(tenant, request).await?;
    let mut members = Members::parse(body.bytes())?;
    let id = members.required("request_id").unwrap_or_default();
    members.finish()?;
    let id: JobId = id.parse().map_err(|_| Error::NotFound("request"))?;
    let job = jobs.find(tenant, id).await?;
    if job.lane.pipeline() != pipeline {
        return Err(Error::NotFound("request").into());
    }
    Ok(match answer::result(job, &jobs.links)? {
        Some(result) => Json(json!({"status": "complete", "result": result})).into_response(),
        None => (StatusCode::ACCEPTED, Json(json!({"status": "processing"}))).into_response(),
    })
}
