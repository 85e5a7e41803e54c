//! Decisions about failed jobs, one by one or by filter.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use darkroom_jobs::JobId;
use darkroom_store::{Bulk, Extent, FailedJob, Replayed, Standing};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::filter::{self, Given};
use crate::admin::Admin;
use crate::auth::Operator;
use crate::deadline::bounded;
use crate::jobs::JobPath;
use crate::mint::Mint;
use crate::{Error, ProblemField, query};

/// Most jobs of one decision: as many as the database is done with well within its time.
const MAX_AT_ONCE: i64 = 5_000;

/// What became of a decision about many jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Decided {
    /// Jobs that matched.
    matching: u64,
    /// Those of them that it was done with, the oldest first; 0 when only counted.
    done: u64,
    /// Those that are left: ask again with this number.
    remaining: u64,
}

/// The job that runs a failed one again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replay {
    /// Its id.
    id: Uuid,
    /// The failed job.
    replay_of: Uuid,
}

/// Run one failed job again, by a new job.
///
/// The new job has the tenant, request, price, priority and times of the failed one, and attempts of its own. The failed
/// one stays failed, and names the new one. A job that was put aside can be run again as well.
#[utoipa::path(
    post,
    path = "/admin/v1/failed-jobs/{id}/replay",
    operation_id = "replay_failed_job",
    tag = "failed jobs",
    params(("id" = uuid::Uuid, Path, description = "The failed job's id.")),
    responses(
        (status = 201, description = "The new job.", body = Replay),
        (status = 404, description = "No such failed job."),
        (status = 409, description = "`already_decided`: another job runs it again; or `deadline_passed`."),
    ),
    security(("key" = []))
)]
pub(in crate::admin) async fn replay_one(
    State(admin): State<Admin>,
    State(mint): State<Mint>,
    _: Operator,
    JobPath(id): JobPath,
) -> Result<Response, Error> {
    match bounded(admin.store.replay_job(id, mint.job_id())).await? {
        Replayed::By(by) => {
            tracing::info!(%by, "an operator runs a failed job again");
            let replay = Replay { id: by.as_uuid(), replay_of: id.as_uuid() };
            Ok((StatusCode::CREATED, Json(replay)).into_response())
        }
        Replayed::Late => Err(Error::TooLate),
        Replayed::No => Err(Error::Decided(admin.failed(id).await?.standing.as_str())),
    }
}

/// Put one failed job aside.
///
/// It stays failed, for its owner and in usage; no list of open ones has it any more.
#[utoipa::path(
    post,
    path = "/admin/v1/failed-jobs/{id}/discard",
    operation_id = "discard_failed_job",
    tag = "failed jobs",
    params(("id" = uuid::Uuid, Path, description = "The failed job's id.")),
    responses(
        (status = 204, description = "It is put aside."),
        (status = 404, description = "No such failed job."),
        (status = 409, description = "`already_decided`: another job runs it again."),
    ),
    security(("key" = []))
)]
pub(in crate::admin) async fn discard_one(
    State(admin): State<Admin>,
    _: Operator,
    JobPath(id): JobPath,
) -> Result<StatusCode, Error> {
    if bounded(admin.store.discard_job(id)).await? {
        tracing::info!("an operator put a failed job aside");
        return Ok(StatusCode::NO_CONTENT);
    }
    match admin.failed(id).await?.standing {
        Standing::Replayed => Err(Error::Decided(Standing::Replayed.as_str())),
        Standing::Open | Standing::Discarded => Ok(StatusCode::NO_CONTENT),
    }
}

/// Run failed jobs again that match, each by a new job.
///
/// First with `dry_run=true`, to be told how many match; then with `expected_count`, that number. When another number
/// matches meanwhile, nothing is done. At most 5,000 are run again at once, the oldest first: while any remain, ask
/// again with `expected_count` set to `remaining`. Jobs whose deadline has passed do not match.
#[utoipa::path(
    post,
    path = "/admin/v1/failed-jobs/replay",
    operation_id = "replay_failed_jobs",
    tag = "failed jobs",
    params(
        Given,
        ("dry_run" = Option<bool>, Query, description = "Whether to count only."),
        ("expected_count" = Option<u64>, Query, description = "How many have to match; required unless `dry_run`."),
    ),
    responses(
        (status = 200, description = "What was done.", body = Decided),
        (status = 404, description = "No such tenant."),
        (status = 409, description = "`count_changed`: another number matches."),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(in crate::admin) async fn replay(
    State(admin): State<Admin>,
    State(mint): State<Mint>,
    _: Operator,
    RawQuery(query): RawQuery,
) -> Result<Json<Decided>, Error> {
    let (given, extent) = parse(query.as_deref().unwrap_or_default())?;
    let filter = given.resolve(&admin).await?;
    let Some(extent) = extent else {
        let (_, matching) = bounded(admin.store.count_failed(&filter)).await?;
        return Ok(Json(Decided { matching, done: 0, remaining: matching }));
    };
    let done = bounded(admin.store.replay_failed(&filter, extent, || mint.job_id())).await?;
    decided(done, extent, "an operator runs failed jobs again")
}

/// Put failed jobs aside that match.
///
/// First with `dry_run=true`, to be told how many match; then with `expected_count`, that number. When another number
/// matches meanwhile, nothing is done. At most 5,000 are put aside at once, the oldest first: while any remain, ask
/// again with `expected_count` set to `remaining`.
#[utoipa::path(
    post,
    path = "/admin/v1/failed-jobs/discard",
    operation_id = "discard_failed_jobs",
    tag = "failed jobs",
    params(
        Given,
        ("dry_run" = Option<bool>, Query, description = "Whether to count only."),
        ("expected_count" = Option<u64>, Query, description = "How many have to match; required unless `dry_run`."),
    ),
    responses(
        (status = 200, description = "What was done.", body = Decided),
        (status = 404, description = "No such tenant."),
        (status = 409, description = "`count_changed`: another number matches."),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(in crate::admin) async fn discard(
    State(admin): State<Admin>,
    _: Operator,
    RawQuery(query): RawQuery,
) -> Result<Json<Decided>, Error> {
    let (given, extent) = parse(query.as_deref().unwrap_or_default())?;
    let filter = given.resolve(&admin).await?;
    let Some(extent) = extent else {
        let (matching, _) = bounded(admin.store.count_failed(&filter)).await?;
        return Ok(Json(Decided { matching, done: 0, remaining: matching }));
    };
    let done = bounded(admin.store.discard_failed(&filter, extent)).await?;
    decided(done, extent, "an operator put failed jobs aside")
}

fn decided(done: Bulk, extent: Extent, what: &'static str) -> Result<Json<Decided>, Error> {
    match done {
        Bulk::Unexpected { matching } => Err(Error::CountChanged { matching }),
        Bulk::Done { done, remaining } => {
            tracing::info!(jobs = done, remaining, "{what}");
            Ok(Json(Decided { matching: extent.expected, done, remaining }))
        }
    }
}

/// The filter, and how many have to match: `None` to count only.
fn parse(query: &str) -> Result<(Given, Option<Extent>), Error> {
    let mut given = Given::default();
    let (mut dry_run, mut expected) = (false, None);
    let mut errors = query::read(query, |name, value| match name {
        "dry_run" => {
            let expected = "expected true or false";
            dry_run = value.parse().map_err(|_| ProblemField::parameter(name, "type", expected))?;
            Ok(())
        }
        "expected_count" => {
            let count = value.parse::<u64>();
            let refused = |_| ProblemField::parameter(name, "range", "expected a whole number");
            expected = Some(count.map_err(refused)?);
            Ok(())
        }
        _ => given.set(name, value).unwrap_or_else(|| {
            let allowed = [&filter::PARAMETERS[..], &["dry_run", "expected_count"]].concat();
            Err(query::unknown(name, &allowed))
        }),
    });
    if !dry_run && expected.is_none() && errors.iter().all(|error| error.place() != "expected_count") {
        let detail = "give the number that `dry_run=true` tells";
        errors.push(ProblemField::parameter("expected_count", "required", detail));
    }
    if !errors.is_empty() {
        return Err(Error::Fields(errors));
    }
    let extent = expected.filter(|_| !dry_run).map(|expected| Extent { expected, limit: MAX_AT_ONCE });
    Ok((given, extent))
}

impl Admin {
    async fn failed(&self, id: JobId) -> Result<FailedJob, Error> {
        bounded(self.store.failed_job(id)).await?.ok_or(Error::NotFound("failed job"))
    }
}
