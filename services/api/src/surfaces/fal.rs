//! fal: the queue (submit, status, result, cancel), and requests that wait for their result.
//!
//! The contract is fal's: <https://docs.fal.ai/model-endpoints/queue>. Its clients are given a host and a path, and speak
//! TLS; keys come as `Authorization: Key …`.

mod input;
mod queue;
mod result;
mod submit;

use axum::Router;
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_request;
use axum::routing::{get, post, put};
use serde_json::{Value, json};

use super::{Surface, SurfaceRefusal};
use crate::{Api, Problem};

pub(super) const SURFACE: Surface = Surface { prefixes: &["/fal"], routes, refusal };

fn routes() -> Router<Api> {
    Router::new()
        .route("/fal/{owner}/{app}", post(submit::enqueue))
        .route("/fal/{owner}/{app}/{*path}", post(submit::enqueue_path))
        .route("/fal/{owner}/{app}/requests/{id}", get(queue::response))
        .route("/fal/{owner}/{app}/requests/{id}/status", get(queue::status))
        .route("/fal/{owner}/{app}/requests/{id}/cancel", put(queue::cancel))
        .route("/fal/run/{*app}", post(submit::run))
        .layer(map_request(with_bearer))
}

/// Turns `Authorization: Key …` into what every other route wants.
async fn with_bearer(mut request: Request) -> Request {
    let key = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key =
        key.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("key"));
    let bearer = key.and_then(|(_, key)| HeaderValue::try_from(format!("Bearer {key}")).ok());
    if let Some(bearer) = bearer {
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }
    request
}

/// The query parameter with the URL that is told of the end.
const WEBHOOK: &str = "fal_webhook";

/// Native names of parameters, and fal's.
const NAMES: [(&str, &str); 6] = [
    ("images", "num_images"),
    ("steps", "num_inference_steps"),
    ("safety_check", "enable_safety_checker"),
    ("width", "image_size"),
    ("height", "image_size"),
    ("webhook", WEBHOOK),
];

fn refusal(problem: &Problem) -> SurfaceRefusal {
    let status = match problem.code {
        "unknown_model" => StatusCode::NOT_FOUND,
        "unsupported_image" | "image_dimensions" | "malformed_body" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => problem.status_code(),
    };
    let message = problem.detail_in(&NAMES);
    let detail = if status == StatusCode::UNPROCESSABLE_ENTITY {
        let fields = problem.errors.iter().map(|field| {
            let name = super::renamed(field.place(), &NAMES);
            let within = if name == WEBHOOK { "query" } else { "body" };
            json!({"loc": [within, name], "msg": field.detail, "type": field.code})
        });
        let fields: Vec<Value> = fields.collect();
        let whole = || vec![json!({"loc": ["body"], "msg": message, "type": problem.code})];
        Value::from(if fields.is_empty() { whole() } else { fields })
    } else {
        message.into()
    };
    SurfaceRefusal { status, body: json!({"detail": detail, "error_type": problem.code}) }
}
