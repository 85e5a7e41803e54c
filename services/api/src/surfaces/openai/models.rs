//! `GET models`: everything in the catalog, with its aliases.

use axum::Json;
use axum::extract::{Path, State};
use darkroom_jobs::Catalog;
use serde_json::{Value, json};

use crate::intake::Intake;
use crate::{Error, Reader};

pub(super) async fn list(State(intake): State<Intake>, _: Reader) -> Json<Value> {
    let models: Vec<Value> = names(intake.catalog()).map(model).collect();
    Json(json!({"object": "list", "data": models}))
}

pub(super) async fn show(
    State(intake): State<Intake>,
    _: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let found = names(intake.catalog()).find(|name| *name == id);
    found.map(|name| Json(model(name))).ok_or(Error::NotFound("model"))
}

fn names(catalog: &Catalog) -> impl Iterator<Item = &str> {
    catalog
        .models()
        .iter()
        .flat_map(|model| std::iter::once(model.lane.model()).chain(model.aliases.iter().map(String::as_str)))
}

fn model(name: &str) -> Value {
    // Nobody knows when a model was made; clients want a number.
    let owner = name.split_once('/').map_or("darkroom", |(owner, _)| owner);
    json!({"id": name, "object": "model", "created": 0, "owned_by": owner})
}
