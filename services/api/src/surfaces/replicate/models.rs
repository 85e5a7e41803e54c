//! Models and their versions. A model of the catalog has one version, whose id is made of its name.

use axum::Json;
use axum::extract::{Path, State};
use darkroom_jobs::{Catalog, Lane, Model, Pipeline};
use darkroom_surfaces::model_path;
use darkroom_surfaces::replicate::version_id;
use serde_json::{Value, json};

use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::surfaces::model_named;
use crate::{Error, Links, Reader};

/// The model that is called so, in the form `owner/name`.
pub(super) fn named<'c>(catalog: &'c Catalog, owner: &str, name: &str) -> Result<&'c Model, Error> {
    model_named(catalog, &format!("{owner}/{name}")).ok_or(Error::NotFound("model"))
}

/// The model of a version: by the version's id, alone or behind `owner/name:`, or by the model's name.
pub(super) fn of_version<'c>(catalog: &'c Catalog, version: &str) -> Option<&'c Model> {
    let id = version.rsplit_once(':').map_or(version, |(_, id)| id);
    let found = catalog.models().iter().find(|model| version_id(&model.lane) == id);
    found.or_else(|| model_named(catalog, version))
}

pub(super) async fn list(State(intake): State<Intake>, State(jobs): State<Jobs>, _: Reader) -> Json<Value> {
    let models = intake.catalog().models().iter().map(|it| model(it, &jobs.links));
    Json(json!({"next": null, "previous": null, "results": models.collect::<Vec<_>>()}))
}

pub(super) async fn show(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    _: Reader,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Json<Value>, Error> {
    Ok(Json(model(named(intake.catalog(), &owner, &name)?, &jobs.links)))
}

pub(super) async fn versions(
    State(intake): State<Intake>,
    _: Reader,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Json<Value>, Error> {
    let model = named(intake.catalog(), &owner, &name)?;
    Ok(Json(json!({"next": null, "previous": null, "results": [version_of(model)]})))
}

pub(super) async fn version(
    State(intake): State<Intake>,
    _: Reader,
    Path((owner, name, id)): Path<(String, String, String)>,
) -> Result<Json<Value>, Error> {
    let model = named(intake.catalog(), &owner, &name)?;
    let known = version_id(&model.lane) == id;
    if known { Ok(Json(version_of(model))) } else { Err(Error::NotFound("version")) }
}

/// Every member that clients want, null where there is nothing to say.
fn model(model: &Model, links: &Links) -> Value {
    let full = model_path(&model.lane);
    let (owner, name) = full.split_once('/').unwrap_or_default();
    json!({
        "url": links.path(&format!("/replicate/v1/models/{full}")), "owner": owner, "name": name,
        "description": format!("Makes {}.", makes(&model.lane)), "visibility": "private", "github_url": null,
        "paper_url": null, "license_url": null, "run_count": 0, "cover_image_url": null, "default_example": null,
        "latest_version": version_of(model)
    })
}

/// Nobody knows when a version was made; clients want a time.
const MADE: &str = "1970-01-01T00:00:00Z";

fn version_of(model: &Model) -> Value {
    let (input, output) = match model.lane.pipeline() {
        Pipeline::TextToImage => (
            json!({
                "type": "object", "title": "Input", "required": ["prompt"],
                "properties": {
                    "prompt": {"type": "string"}, "negative_prompt": {"type": "string"},
                    "aspect_ratio": {"type": "string"}, "width": {"type": "integer"}, "height": {"type": "integer"},
                    "num_outputs": {"type": "integer", "minimum": 1, "maximum": model.limits.max_images, "default": 1},
                    "num_inference_steps": {"type": "integer", "default": model.defaults.steps},
                    "guidance": {"type": "number", "default": model.defaults.guidance_scale},
                    "seed": {"type": "integer"}, "scheduler": {"type": "string"},
                    "output_format": {"type": "string", "enum": ["png", "jpg", "webp"], "default": "png"},
                    "output_quality": {"type": "integer", "minimum": 0, "maximum": 100, "default": 90},
                    "disable_safety_checker": {"type": "boolean", "default": false}
                }
            }),
            json!({"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"}),
        ),
        Pipeline::ImageToText => (
            json!({
                "type": "object", "title": "Input", "required": ["image"],
                "properties": {"image": {"type": "string", "format": "uri"}, "prompt": {"type": "string"}}
            }),
            json!({"type": "string", "title": "Output"}),
        ),
    };
    json!({
        "id": version_id(&model.lane), "created_at": MADE, "cog_version": "0.9.0",
        "openapi_schema": {"components": {"schemas": {"Input": input, "Output": output}}}
    })
}

/// What a model makes.
fn makes(lane: &Lane) -> &'static str {
    match lane.pipeline() {
        Pipeline::TextToImage => "pictures",
        Pipeline::ImageToText => "captions",
    }
}
