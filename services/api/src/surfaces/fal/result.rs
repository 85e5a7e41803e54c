//! A job's result as an answer, or why there is none.

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use darkroom_jobs::JobState;
use darkroom_store::Job;
use darkroom_surfaces::fal::{Ended, result};
use serde_json::{Value, json};

use crate::Links;
use crate::problem::Shaped;

/// An answer in fal's form, whatever its status.
pub(super) type Answer = (StatusCode, Extension<Shaped>, Json<Value>);

pub(super) fn told(status: StatusCode, body: Value) -> Answer {
    (status, Extension(Shaped), Json(body))
}

/// What is said when the result takes too long to wait for.
pub(super) fn later() -> impl IntoResponse {
    let body = json!({"detail": "the request takes too long: it goes on", "error_type": "request_timeout"});
    ([(RETRY_AFTER, "1")], told(StatusCode::SERVICE_UNAVAILABLE, body))
}

/// The result, or what is said instead.
pub(super) fn answer(job: &Job, links: &Links) -> Answer {
    match Ended::of(job) {
        Some(ended) => {
            let status = StatusCode::from_u16(ended.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            told(status, ended.body())
        }
        None if job.state == JobState::Succeeded => told(StatusCode::OK, result(job, Some(links))),
        None => {
            let body = json!({"detail": "the request is not done yet", "error_type": "in_progress"});
            told(StatusCode::BAD_REQUEST, body)
        }
    }
}
