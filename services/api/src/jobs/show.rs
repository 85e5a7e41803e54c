//! `GET /v1/jobs/{id}`.

use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{JobPath, Jobs, Until};
use crate::etag::{self, NoneMatch};
use crate::prefer::{PREFERENCE_APPLIED, Prefer};
use crate::{Error, JobView, Reader};

/// Show a job.
///
/// With `Prefer: wait=N` the answer is held back until the job is final; with `If-None-Match` as well, until
/// it has another version than the caller's.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "show_job",
    tag = "jobs",
    params(
        ("id" = uuid::Uuid, Path, description = "The job's id."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: hold for at most N seconds, 1 to 60."),
        ("If-None-Match" = Option<String>, Header, description = "`ETag` of an earlier answer."),
    ),
    responses(
        (status = 200, description = "The job.", body = JobView, headers(
            ("ETag" = String, description = "Stands for the job's version.")
        )),
        (status = 304, description = "The caller has this version already."),
        (status = 404, description = "No such job."),
    ),
    security(("key" = []))
)]
pub(crate) async fn show(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let prefer = Prefer::from_headers(&headers).wait_only();
    let none_match = NoneMatch::from_headers(&headers);
    let job = match prefer.wait() {
        Some(wait) => {
            let until = none_match.clone().map_or(Until::Final, Until::Newer);
            jobs.hold(tenant, id, &until, wait).await?
        }
        None => jobs.find(tenant, id).await?,
    };
    let tag = etag::of_version(job.version);
    let known = none_match.is_some_and(|have| have.matches(&tag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(jobs.view(job).await).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::try_from(tag).map_err(Error::internal)?);
    if let Some(applied) = prefer.applied() {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}
