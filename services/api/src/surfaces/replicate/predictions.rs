//! Predictions that are there: one, a page of them, and canceling one.

use axum::Json;
use axum::extract::{RawQuery, State};
use darkroom_store::{Canceled, JobFilter};
use darkroom_surfaces::replicate::{Told, prediction};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::deadline::bounded;
use crate::jobs::{JobPath, Jobs};
use crate::{Error, ProblemField, Reader, Submitter, cursor};

/// As many as Replicate has on a page.
const PAGE: usize = 100;

pub(super) async fn show(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    JobPath(id): JobPath,
) -> Result<Json<Value>, Error> {
    let job = jobs.find(tenant, id).await?;
    Ok(Json(prediction(&job, Some(&jobs.links), Told::Later)))
}

/// Canceling what is over changes nothing.
pub(super) async fn cancel(
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    JobPath(id): JobPath,
) -> Result<Json<Value>, Error> {
    if bounded(jobs.store.cancel(key.tenant, id)).await? == Canceled::NotFound {
        return Err(Error::NotFound("prediction"));
    }
    let job = jobs.find(key.tenant, id).await?;
    Ok(Json(prediction(&job, Some(&jobs.links), Told::Later)))
}

pub(super) async fn list(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Error> {
    let mut query = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
    let before = query.find(|(name, _)| name == "cursor").map(|(_, value)| {
        let wrong =
            || ProblemField::parameter("cursor", "cursor", "expected the URL of `next` in an earlier page");
        cursor::decode(&value)
            .map(darkroom_jobs::JobId::from_uuid)
            .ok_or_else(|| Error::Fields(vec![wrong()]))
    });
    let limit = i64::try_from(PAGE + 1).map_err(Error::internal)?;
    let filter = JobFilter { before: before.transpose()?, limit, ..JobFilter::default() };
    let mut found = bounded(jobs.store.jobs(tenant, &filter)).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|job| {
        jobs.links.path(&format!("/replicate/v1/predictions?cursor={}", cursor::encode(job.id.as_uuid())))
    });
    let results: Vec<Value> =
        found.iter().map(|job| prediction(job, Some(&jobs.links), Told::Later)).collect();
    Ok(Json(json!({"next": next, "previous": null, "results": results})))
}
