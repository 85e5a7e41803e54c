//! Replicate: predictions by model and by version, models, versions and outputs.
//!
//! The contract is Replicate's: <https://replicate.com/docs/reference/http>. Base URLs with and without `/v1` are in use;
//! clients that are given one without add it.

mod create;
mod files;
mod input;
mod models;
mod outputs;
mod predictions;
mod secret;
mod stream;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{Surface, SurfaceRefusal};
use crate::{Api, Problem};

pub(super) const SURFACE: Surface = Surface { prefixes: &["/replicate"], routes, refusal };

fn routes() -> Router<Api> {
    let at = |path: &str| format!("/replicate/v1{path}");
    Router::new()
        .route(&at("/predictions"), post(create::by_version).get(predictions::list))
        .route(&at("/predictions/{id}"), get(predictions::show))
        .route(&at("/predictions/{id}/cancel"), post(predictions::cancel))
        .route(&at("/predictions/{id}/stream"), get(stream::stream))
        .route(&at("/models"), get(models::list))
        .route(&at("/models/{owner}/{name}"), get(models::show))
        .route(&at("/models/{owner}/{name}/predictions"), post(create::by_model))
        .route(&at("/models/{owner}/{name}/versions"), get(models::versions))
        .route(&at("/models/{owner}/{name}/versions/{id}"), get(models::version))
        .route(&at("/files"), post(files::upload))
        .route(&at("/files/{id}"), get(files::show).delete(crate::files::delete::delete))
        .route(&at("/outputs/{file}"), get(outputs::fetch))
        .route(&at("/webhooks/default/secret"), get(secret::show))
}

/// Native names of parameters, and Replicate's.
const NAMES: [(&str, &str); 6] = [
    ("images", "num_outputs"),
    ("steps", "num_inference_steps"),
    ("safety_check", "disable_safety_checker"),
    ("image_url", "image"),
    ("model", "version"),
    ("guidance_scale", "guidance"),
];

fn refusal(problem: &Problem) -> SurfaceRefusal {
    let status = match problem.code {
        "unknown_model" => StatusCode::NOT_FOUND,
        // A picture in a member of the input is no body of its own.
        "unsupported_image" | "image_dimensions" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => problem.status_code(),
    };
    let fields = problem.errors.iter().map(|field| {
        let name = super::renamed(field.place(), &NAMES);
        let name = if field.place().starts_with("/input/") { format!("input.{name}") } else { name };
        json!({"type": field.code, "field": name, "description": field.detail})
    });
    let mut body = json!({
        "type": "about:blank", "title": problem.title,
        "detail": problem.detail_in(&NAMES), "status": status.as_u16(), "instance": problem.instance
    });
    let fields: Vec<Value> = fields.collect();
    if !fields.is_empty() {
        body["invalid_fields"] = fields.into();
    }
    SurfaceRefusal { status, body }
}
