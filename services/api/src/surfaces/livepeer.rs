//! Livepeer AI: `text-to-image` and `image-to-text`, as its runner and its gateway answer them.
//!
//! A request submits a job and waits for it. Who goes away meanwhile loses the answer, not the job. The contract is
//! Livepeer's own: <https://docs.livepeer.org/ai/api-reference>, and what its runner was seen to answer.

mod answer;
mod image_to_text;
mod lax;
mod result;
mod text_to_image;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{HeaderMap, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::{Surface, SurfaceRefusal};
use crate::intake::media_type;
use crate::problem::Shaped;
use crate::{Api, Error, Problem};
use lax::Invalid;

pub(super) const SURFACE: Surface = Surface { prefixes: &PREFIXES, routes, refusal };

/// The base URLs that clients are given point to the root or to the gateway's prefix. Its clients ask for pipelines that
/// are not served as well.
const PREFIXES: [&str; 11] = [
    "/text-to-image",
    "/image-to-text",
    "/api/beta/generate",
    "/image-to-image",
    "/image-to-video",
    "/upscale",
    "/audio-to-text",
    "/segment-anything-2",
    "/llm",
    "/live-video-to-video",
    "/text-to-speech",
];

fn routes() -> Router<Api> {
    let mut router = Router::new();
    for base in ["", "/api/beta/generate"] {
        // With the slash and without: clients follow no redirect.
        for slash in ["", "/"] {
            router = router
                .route(&format!("{base}/text-to-image{slash}"), post(text_to_image::generate))
                .route(&format!("{base}/image-to-text{slash}"), post(image_to_text::describe))
                .route(&format!("{base}/text-to-image/result{slash}"), post(result::text_to_image))
                .route(&format!("{base}/image-to-text/result{slash}"), post(result::image_to_text));
        }
    }
    router
}

/// Native names of parameters, and Livepeer's.
const NAMES: [(&str, &str); 4] = [
    ("model", "model_id"),
    ("steps", "num_inference_steps"),
    ("images", "num_images_per_prompt"),
    ("image_url", "image"),
];

/// Why a request failed here.
#[derive(Debug)]
enum Failure {
    /// The request has members that cannot be used.
    Invalid(Vec<Invalid>),
    /// The runner's own words, with a status.
    Told(StatusCode, String),
    /// Everything that other callers are told as well.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Vec<Invalid>> for Failure {
    fn from(invalid: Vec<Invalid>) -> Self {
        Self::Invalid(invalid)
    }
}

impl Failure {
    /// A refusal of the model.
    fn of_model(message: impl std::fmt::Display) -> Self {
        Self::Told(StatusCode::BAD_REQUEST, format!("Error during model execution: {message}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Invalid(invalid) => (StatusCode::UNPROCESSABLE_ENTITY, json!({"detail": invalid})),
            Self::Told(status, message) => (status, told(&message)),
            Self::Other(error) => return error.into_response(),
        };
        let mut response = (status, axum::Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
        }
        response.extensions_mut().insert(Shaped);
        response
    }
}

/// When to ask again for what took too long.
const RETRY_AFTER_S: u64 = 5;

/// A body that both the runner's and the gateway's clients read.
fn told(message: &str) -> Value {
    json!({"detail": {"msg": message}, "error": {"message": message}})
}

fn refusal(problem: &Problem) -> SurfaceRefusal {
    let status = problem.status_code();
    let (status, message) = match problem.code {
        "unauthorized" => (status, "Invalid bearer token.".to_owned()),
        "too_large" => (status, "File size exceeds limit".to_owned()),
        // The runner has no other word for what its model does not take.
        "invalid_request" | "unknown_model" | "unsupported_image" | "image_dimensions" => {
            (StatusCode::BAD_REQUEST, format!("Error during model execution: {}", problem.detail_in(&NAMES)))
        }
        // Clients read an answer with status 422 as a list of members.
        "idempotency_key_reused" => (StatusCode::BAD_REQUEST, problem.detail.clone()),
        "internal" if problem.instance.contains("image-to-text") => (status, IMAGE_TO_TEXT_FAILED.to_owned()),
        "internal" => (status, TEXT_TO_IMAGE_FAILED.to_owned()),
        _ => (status, problem.detail.clone()),
    };
    SurfaceRefusal { status, body: told(&message) }
}

const TEXT_TO_IMAGE_FAILED: &str = "Text-to-image pipeline error.";
const IMAGE_TO_TEXT_FAILED: &str = "Image-to-text pipeline error.";

/// Whether a body says that it is JSON, as FastAPI sees it.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers);
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}
