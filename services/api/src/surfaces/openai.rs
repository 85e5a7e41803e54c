//! OpenAI: pictures by `images/generations`, captions by `chat/completions`, and the list of models.
//!
//! The contract is OpenAI's: <https://platform.openai.com/docs/api-reference/images>. Its clients repeat a request after
//! 408, 409, 429 and 5xx unless `x-should-retry` says otherwise; a job that ended badly is not worth it.

mod chat;
mod images;
mod models;
mod pictures;
mod stream;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use darkroom_jobs::JobState;
use darkroom_store::{Job, Repeated};
use serde_json::{Value, json};

use super::answering::Answering;
use super::{Surface, SurfaceRefusal};
use crate::problem::Shaped;
use crate::{Api, Problem};

pub(super) const SURFACE: Surface = Surface { prefixes: &["/openai"], routes, refusal };

fn routes() -> Router<Api> {
    Router::new()
        .route("/openai/v1/images/generations", post(images::generate))
        .route("/openai/v1/chat/completions", post(chat::complete))
        .route("/openai/v1/models", get(models::list))
        .route("/openai/v1/models/{*id}", get(models::show))
}

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Whether the client says that it sends a request again.
fn repeated(headers: &HeaderMap) -> Option<Repeated> {
    let count = headers.get("x-stainless-retry-count")?.to_str().ok()?.parse::<u32>().ok()?;
    (count > 0).then_some(Repeated::Surely)
}

/// Native names of parameters, and OpenAI's.
const NAMES: [(&str, &str); 6] = [
    ("images", "n"),
    ("width", "size"),
    ("height", "size"),
    ("output_quality", "output_compression"),
    ("safety_check", "moderation"),
    ("image_url", "messages"),
];

fn error(message: &str, kind: &str, param: Option<&str>, code: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

fn refusal(problem: &Problem) -> SurfaceRefusal {
    let status = problem.status_code();
    let (status, code) = match problem.code {
        "unauthorized" => (status, "invalid_api_key"),
        "unknown_model" => (StatusCode::NOT_FOUND, "model_not_found"),
        "invalid_request" => (StatusCode::BAD_REQUEST, "invalid_value"),
        "malformed_body" => (status, "invalid_json"),
        "too_many_requests" => (status, "rate_limit_exceeded"),
        "daily_cost_limit" => (status, "insufficient_quota"),
        "not_found" if problem.instance.starts_with("/openai/v1/models/") => (status, "model_not_found"),
        "not_found" => (status, "unknown_url"),
        other => (status, other),
    };
    let first = problem.errors.first().map(|field| super::renamed(field.place(), &NAMES));
    let param = match problem.code {
        "unknown_model" => Some("model"),
        _ => first.as_deref(),
    };
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS if code == "insufficient_quota" => "insufficient_quota",
        StatusCode::TOO_MANY_REQUESTS => "requests",
        StatusCode::FORBIDDEN => "permission_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    SurfaceRefusal { status, body: error(&problem.detail_in(&NAMES), kind, param, code) }
}

/// A job that has no result for its caller.
#[derive(Debug)]
struct NoResult(Box<Job>);

impl NoResult {
    /// Status, type, code and text.
    fn told(&self) -> (StatusCode, &'static str, &'static str, String) {
        let server = "server_error";
        match (self.0.state, &self.0.failure) {
            (JobState::Queued | JobState::Running, _) => {
                let text = "the job takes too long: it goes on, and repeating the request waits for it";
                (StatusCode::SERVICE_UNAVAILABLE, server, "timeout", text.to_owned())
            }
            (JobState::Canceled, _) => (
                StatusCode::CONFLICT,
                "invalid_request_error",
                "job_canceled",
                "the job was canceled".to_owned(),
            ),
            (JobState::Expired, _) => {
                let text = "the job's deadline passed before it was done".to_owned();
                (StatusCode::GATEWAY_TIMEOUT, server, "job_expired", text)
            }
            (_, Some(failure)) if failure.class.is_refusal() => (
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                failure.class.as_str(),
                failure.message.clone(),
            ),
            (_, failure) => {
                let code = failure.as_ref().map_or("job_failed", |failure| failure.class.as_str());
                (StatusCode::INTERNAL_SERVER_ERROR, server, code, "the job failed".to_owned())
            }
        }
    }

    /// The refusal. That of a job that is final is told for good; else a repetition waits on.
    fn answer(self, answering: Answering) -> Response {
        let (status, kind, code, message) = self.told();
        let mut response = (status, Json(error(&message, kind, None, code))).into_response();
        response.extensions_mut().insert(Shaped);
        let headers = response.headers_mut();
        if !self.0.state.is_final() {
            headers.insert(RETRY_AFTER, 1.into());
            return response;
        }
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        answering.watch(response)
    }
}
