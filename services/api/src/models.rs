//! `GET /v1/models`: the catalog, and who serves it at this moment.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use darkroom_jobs::{Catalog, Model, Pipeline};
use darkroom_store::{Store, Worker};
use serde::Serialize;
use utoipa::ToSchema;

use crate::deadline::bounded;
use crate::{Error, Problem, Reader};

/// The catalog and the workers.
#[derive(Debug, Clone)]
pub(crate) struct Models {
    pub(crate) store: Store,
    pub(crate) catalog: Arc<Catalog>,
}

/// Every model of the deployment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// The models, in the order of the catalog.
    models: Vec<ModelView>,
}

/// A model of the deployment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub(crate) struct ModelView {
    /// Its id.
    #[schema(example = "darkroom/shapes-sd")]
    id: String,
    /// The pipeline it serves.
    pipeline: &'static str,
    /// Other names for it.
    aliases: Vec<String>,
    /// Whether it serves requests that name no model.
    default: bool,
    /// Whether workers load it when they start.
    warm: bool,
    /// `ready`: a worker has it in memory. `available`: a worker can load it. `unavailable`: no worker serves
    /// it at this moment; its jobs wait.
    #[schema(example = "ready")]
    state: &'static str,
    /// Workers that serve it.
    workers: usize,
    /// Workers that have it in memory.
    loaded: usize,
    /// What it costs; null when free.
    price: Option<PriceView>,
    /// Values for parameters that a request leaves out; null for image-to-text.
    defaults: Option<DefaultsView>,
    /// Bounds for parameters; null for image-to-text.
    limits: Option<LimitsView>,
}

/// What pixels cost: output pixels of text-to-image, input pixels of image-to-text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
pub(crate) struct PriceView {
    /// Price of `pixels_per_unit` pixels, as a decimal number.
    #[schema(example = "0.000000019073484")]
    per_unit: String,
    /// Pixels in one unit.
    pixels_per_unit: u64,
    /// Currency code.
    #[schema(example = "USD")]
    currency: String,
}

/// Values for parameters that a request leaves out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Defaults)]
pub(crate) struct DefaultsView {
    /// Denoising steps.
    steps: u32,
    /// Weight of classifier-free guidance.
    guidance_scale: f64,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
}

/// Bounds for parameters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub(crate) struct LimitsView {
    /// Largest width and height in pixels.
    max_side: u32,
    /// Most pictures in one job.
    max_images: u32,
    /// Most denoising steps.
    max_steps: u32,
}

/// List the models.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    responses(
        (status = 200, description = "Every model.", body = ModelList),
        (status = 401, description = "No working key.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(crate) async fn list(State(models): State<Models>, _reader: Reader) -> Result<Json<ModelList>, Error> {
    let workers = bounded(models.store.workers()).await?;
    let views = models.catalog.models().iter().map(|model| models.view(model, &workers));
    Ok(Json(ModelList { models: views.collect() }))
}

impl Models {
    fn view(&self, model: &Model, workers: &[Worker]) -> ModelView {
        let serving = workers.iter().filter(|worker| worker.lanes.contains(&model.lane)).count();
        let loaded = workers.iter().filter(|worker| worker.loaded.contains(&model.lane)).count();
        let state = match (serving, loaded) {
            (0, 0) => "unavailable",
            (_, 0) => "available",
            _ => "ready",
        };
        let draws = model.lane.pipeline() == Pipeline::TextToImage;
        let default = self.catalog.default_of(model.lane.pipeline());
        ModelView {
            id: model.lane.model().to_owned(),
            pipeline: model.lane.pipeline().as_str(),
            aliases: model.aliases.clone(),
            default: default.is_some_and(|default| default.lane == model.lane),
            warm: model.warm,
            state,
            workers: serving,
            loaded,
            price: model.price.as_ref().map(|price| PriceView {
                per_unit: price.per_unit.to_string(),
                pixels_per_unit: price.pixels_per_unit,
                currency: price.currency.clone(),
            }),
            defaults: draws.then_some(DefaultsView {
                steps: model.defaults.steps,
                guidance_scale: model.defaults.guidance_scale,
                width: model.defaults.width,
                height: model.defaults.height,
            }),
            limits: draws.then_some(LimitsView {
                max_side: model.limits.max_side,
                max_images: model.limits.max_images,
                max_steps: model.limits.max_steps,
            }),
        }
    }
}
