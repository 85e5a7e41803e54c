//! `GET /v1/models`: the catalog, and who serves it at this moment.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use darkroom_jobs::{Catalog, Lane, Model, Pipeline};
use darkroom_store::{FilesStatus, Store, Worker};
use serde::Serialize;
use utoipa::ToSchema;

use crate::deadline::bounded;
use crate::openapi::words;
use crate::{Error, Reader};

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
    #[schema(value_type = words::Pipeline)]
    pipeline: &'static str,
    /// Other names for it.
    aliases: Vec<String>,
    /// Whether it serves requests that name no model.
    default: bool,
    /// Whether workers load it when they start.
    warm: bool,
    /// `ready`: a worker has it in memory. `available`: a worker can load it. In every other state its jobs
    /// wait. `downloading`: a worker fetches its files. `failed`: a worker could not fetch them, and will try
    /// again. `absent`: a worker has yet to fetch them. `unavailable`: no worker serves it at this moment.
    #[schema(example = "ready")]
    state: &'static str,
    /// How far the worker is whose download is furthest; null unless the state is `downloading`.
    download: Option<DownloadView>,
    /// Why its files could not be fetched; null unless the state is `failed`.
    #[schema(example = "access to its files is refused")]
    failure: Option<String>,
    /// Whether a safety checker looks at its pictures; null while no worker has loaded it, and for
    /// image-to-text.
    safety_checker: Option<bool>,
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

/// How far a download is.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Download)]
pub(crate) struct DownloadView {
    /// Bytes that are there.
    downloaded_bytes: u64,
    /// All bytes; 0 until that is known.
    total_bytes: u64,
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
    /// The only numbers of steps that do; empty when all up to `max_steps` do.
    steps: Vec<u32>,
}

/// List the models.
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "list_models",
    tag = "models",
    responses(
        (status = 200, description = "Every model.", body = ModelList),
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
        let draws = model.lane.pipeline() == Pipeline::TextToImage;
        let standing = if loaded > 0 { Standing::Ready } else { Standing::of(&model.lane, workers) };
        let (state, download, failure) = standing.told();
        let mut checkers = workers.iter().filter_map(|worker| worker.models.get(&model.lane)?.safety_checker);
        // One worker without a checker is enough for pictures that nobody looked at.
        let safety_checker = checkers.next().map(|first| first && checkers.all(|checker| checker));
        let default = self.catalog.default_of(model.lane.pipeline());
        ModelView {
            id: model.lane.model().to_owned(),
            pipeline: model.lane.pipeline().as_str(),
            aliases: model.aliases.clone(),
            default: default.is_some_and(|default| default.lane == model.lane),
            warm: model.warm,
            state,
            download,
            failure,
            safety_checker: safety_checker.filter(|_| draws),
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
                steps: model.limits.steps.clone(),
            }),
        }
    }
}

/// Whether a job of a model would start now, and else why not; the best first.
enum Standing {
    Ready,
    Available,
    Downloading(DownloadView),
    Failed(String),
    Absent,
    Unavailable,
}

impl Standing {
    /// The best of what the workers say that serve the lane.
    fn of(lane: &Lane, workers: &[Worker]) -> Self {
        let serving = workers.iter().filter(|worker| worker.lanes.contains(lane));
        let standings = serving.map(|worker| match worker.models.get(lane).map(|model| &model.files) {
            None | Some(FilesStatus::Available) => Self::Available,
            Some(FilesStatus::Downloading { downloaded_bytes, total_bytes }) => {
                let (downloaded_bytes, total_bytes) = (*downloaded_bytes, *total_bytes);
                Self::Downloading(DownloadView { downloaded_bytes, total_bytes })
            }
            Some(FilesStatus::Failed { reason }) => Self::Failed(reason.clone()),
            Some(FilesStatus::Absent) => Self::Absent,
        });
        standings.max_by_key(Self::rank).unwrap_or(Self::Unavailable)
    }

    /// Grows with what is to be preferred; among downloads with what is there.
    fn rank(&self) -> (u8, u64) {
        match self {
            Self::Ready => (5, 0),
            Self::Available => (4, 0),
            Self::Downloading(download) => (3, download.downloaded_bytes),
            Self::Failed(_) => (2, 0),
            Self::Absent => (1, 0),
            Self::Unavailable => (0, 0),
        }
    }

    fn told(self) -> (&'static str, Option<DownloadView>, Option<String>) {
        match self {
            Self::Ready => ("ready", None, None),
            Self::Available => ("available", None, None),
            Self::Downloading(download) => ("downloading", Some(download), None),
            Self::Failed(reason) => ("failed", None, Some(reason)),
            Self::Absent => ("absent", None, None),
            Self::Unavailable => ("unavailable", None, None),
        }
    }
}
