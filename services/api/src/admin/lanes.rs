//! Lanes: how they stand, pausing and opening them.

use axum::Json;
use axum::extract::State;
use darkroom_jobs::Lane;
use darkroom_store::LaneStatus;
use serde::Serialize;
use utoipa::ToSchema;

use super::document::Document;
use super::{Admin, Named};
use crate::Error;
use crate::auth::{Observer, Operator};
use crate::deadline::bounded;
use crate::jobs::resource::Timestamp;

/// How a lane stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lane)]
pub(crate) struct LaneView {
    /// The lane.
    #[schema(example = "text-to-image:darkroom/shapes-sd")]
    lane: String,
    /// Whether the catalog of this API has its model.
    in_catalog: bool,
    /// Since when none of its jobs is leased; null while it is open.
    paused_at: Option<Timestamp>,
    /// Why it is paused, in the words of whoever paused it.
    reason: Option<String>,
    /// Jobs that wait, by priority.
    queued: QueuedView,
    /// Jobs that run.
    running: u64,
    /// How long the job that was accepted first has waited; null when none waits.
    oldest_wait_seconds: Option<f64>,
    /// Jobs a minute: those that succeeded in the last five minutes.
    succeeded_per_minute: f64,
    /// Workers that serve it.
    workers: u64,
    /// Those of them that have its model in memory.
    loaded: u64,
}

/// Jobs that wait.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queued)]
pub(crate) struct QueuedView {
    /// All of them.
    total: u64,
    /// Of priority interactive.
    interactive: u64,
    /// Of priority normal.
    normal: u64,
    /// Of priority background.
    background: u64,
    /// Those that wait for the end of the pause before a retry.
    delayed: u64,
}

/// Every lane.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LaneList {
    /// The lanes by name.
    lanes: Vec<LaneView>,
}

/// Why a lane is paused.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what `pause` reads")]
pub(crate) struct Pause {
    /// In your own words, for other operators.
    reason: Option<String>,
}

/// List the lanes.
///
/// Those of the catalog, and every other one with jobs, workers or a decision.
#[utoipa::path(
    get,
    path = "/admin/v1/lanes",
    operation_id = "list_lanes",
    tag = "lanes",
    responses(
        (status = 200, description = "Every lane.", body = LaneList),
    ),
    security(("key" = []))
)]
pub(super) async fn list(State(admin): State<Admin>, _: Observer) -> Result<Json<LaneList>, Error> {
    let lanes = admin.lanes().await?.into_iter().map(|lane| admin.view(lane)).collect();
    Ok(Json(LaneList { lanes }))
}

/// Pause a lane.
///
/// None of its jobs is begun until it is opened again; those that run go on, and further ones are accepted and wait.
#[utoipa::path(
    post,
    path = "/admin/v1/lanes/{lane}/pause",
    operation_id = "pause_lane",
    tag = "lanes",
    params(("lane" = String, Path, description = "`pipeline:model`, with `%2F` for each `/`.")),
    request_body = Option<Pause>,
    responses(
        (status = 200, description = "The lane.", body = LaneView),
        (status = 404, description = "No such lane."),
        (status = 422, description = "Every field that cannot be used."),
    ),
    security(("key" = []))
)]
pub(super) async fn pause(
    State(admin): State<Admin>,
    _: Operator,
    lane: Named,
    document: Document,
) -> Result<Json<LaneView>, Error> {
    let reason = document.read(|fields| fields.text("reason"))?;
    let lane = admin.known_lane(&lane).await?.lane;
    bounded(admin.store.pause_lane(&lane, reason.as_deref())).await?;
    tracing::info!(%lane, "an operator paused a lane");
    admin.lane(&lane).await.map(|lane| Json(admin.view(lane)))
}

/// Open a paused lane.
///
/// Opening an open one changes nothing.
#[utoipa::path(
    post,
    path = "/admin/v1/lanes/{lane}/resume",
    operation_id = "resume_lane",
    tag = "lanes",
    params(("lane" = String, Path, description = "`pipeline:model`, with `%2F` for each `/`.")),
    responses(
        (status = 200, description = "The lane.", body = LaneView),
        (status = 404, description = "No such lane."),
    ),
    security(("key" = []))
)]
pub(super) async fn resume(
    State(admin): State<Admin>,
    _: Operator,
    lane: Named,
) -> Result<Json<LaneView>, Error> {
    let lane = admin.known_lane(&lane).await?.lane;
    if bounded(admin.store.resume_lane(&lane)).await? {
        tracing::info!(%lane, "an operator opened a lane");
    }
    admin.lane(&lane).await.map(|lane| Json(admin.view(lane)))
}

impl Admin {
    async fn lanes(&self) -> Result<Vec<LaneStatus>, Error> {
        let catalog: Vec<Lane> = self.catalog.models().iter().map(|model| model.lane.clone()).collect();
        bounded(self.store.lanes(&catalog)).await
    }

    /// The lane that a path names. One that nobody has heard of is misspelt: a decision about it would do nothing.
    async fn known_lane(&self, named: &Named) -> Result<LaneStatus, Error> {
        let lane = named.0.parse().map_err(|_| Error::NotFound("lane"))?;
        self.lane(&lane).await
    }

    async fn lane(&self, lane: &Lane) -> Result<LaneStatus, Error> {
        let known = self.lanes().await?.into_iter().find(|known| known.lane == *lane);
        known.ok_or(Error::NotFound("lane"))
    }

    fn view(&self, lane: LaneStatus) -> LaneView {
        let [interactive, normal, background] = lane.queued;
        LaneView {
            in_catalog: self.catalog.of_lane(&lane.lane).is_some(),
            lane: lane.lane.to_string(),
            paused_at: lane.paused_at.map(Timestamp),
            reason: lane.reason,
            queued: QueuedView {
                total: lane.queued.iter().sum(),
                interactive,
                normal,
                background,
                delayed: lane.delayed,
            },
            running: lane.running,
            oldest_wait_seconds: lane.oldest_wait_s,
            succeeded_per_minute: lane.succeeded_per_minute,
            workers: lane.workers,
            loaded: lane.loaded,
        }
    }
}
