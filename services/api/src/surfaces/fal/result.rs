//! A job's result, or why there is none.

use axum::http::StatusCode;
use axum::{Extension, Json};
use darkroom_jobs::{FailureClass, JobState, Task};
use darkroom_store::Job;
use serde_json::{Value, json};

use crate::Links;
use crate::problem::Shaped;

/// An answer in fal's form, whatever its status.
pub(super) type Answer = (StatusCode, Extension<Shaped>, Json<Value>);

pub(super) fn told(status: StatusCode, body: Value) -> Answer {
    (status, Extension(Shaped), Json(body))
}

/// How a job ended that has no result.
pub(super) struct Ended {
    status: StatusCode,
    pub(super) message: String,
    pub(super) error_type: &'static str,
}

impl Ended {
    /// `None` for a job that goes on or succeeded.
    pub(super) fn of(job: &Job) -> Option<Self> {
        let (status, message, error_type) = match (job.state, &job.failure) {
            (JobState::Queued | JobState::Running | JobState::Succeeded, _) => return None,
            (JobState::Canceled, _) => {
                (StatusCode::BAD_REQUEST, "the request was canceled".to_owned(), "client_cancelled")
            }
            (JobState::Expired, _) => (
                StatusCode::GATEWAY_TIMEOUT,
                "the request was not done in time".to_owned(),
                "request_timeout",
            ),
            (JobState::Failed, Some(failure)) if failure.class == FailureClass::InvalidInput => {
                (StatusCode::UNPROCESSABLE_ENTITY, failure.message.clone(), failure.class.as_str())
            }
            (JobState::Failed, failure) => {
                let class = failure.as_ref().map_or("internal", |failure| failure.class.as_str());
                (StatusCode::INTERNAL_SERVER_ERROR, "the request failed".to_owned(), class)
            }
        };
        Some(Self { status, message, error_type })
    }
}

/// The result, or what is said instead.
pub(super) fn answer(job: &Job, links: &Links) -> Answer {
    match Ended::of(job) {
        Some(Ended { status, message, error_type }) => {
            told(status, json!({"detail": message, "error_type": error_type}))
        }
        None if job.state == JobState::Succeeded => told(StatusCode::OK, result(job, links)),
        None => {
            let body = json!({"detail": "the request is not done yet", "error_type": "in_progress"});
            told(StatusCode::BAD_REQUEST, body)
        }
    }
}

fn result(job: &Job, links: &Links) -> Value {
    let Task::TextToImage(task) = &job.task else {
        let caption = job.artifacts.iter().find_map(|artifact| artifact.text.as_deref());
        return json!({"output": caption, "text": caption});
    };
    let images = job.artifacts.iter().map(|artifact| {
        json!({
            "url": links.result(artifact.id, &artifact.content_type), "width": artifact.width,
            "height": artifact.height, "content_type": artifact.content_type, "file_size": artifact.size_bytes
        })
    });
    json!({
        "images": images.collect::<Vec<_>>(), "seed": task.seed, "prompt": task.prompt.as_str(),
        "has_nsfw_concepts": job.artifacts.iter().map(|artifact| artifact.nsfw).collect::<Vec<_>>(),
        "timings": job.timings
    })
}
