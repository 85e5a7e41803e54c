//! `GET /admin/v1/failed-jobs`.

use axum::Json;
use axum::extract::{RawQuery, State};
use darkroom_jobs::{JobId, UnknownWord};
use darkroom_store::{FailedPage, Standing};
use serde::Serialize;
use utoipa::ToSchema;

use super::FailedView;
use super::filter::{self, Given};
use crate::admin::Admin;
use crate::auth::Observer;
use crate::deadline::bounded;
use crate::{Error, ProblemField, cursor, query};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;

/// One page of failed jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailedJobPage {
    /// The jobs.
    jobs: Vec<FailedView>,
    /// `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
}

/// List failed jobs, newest first.
///
/// Prompts are not shown here. Jobs that their owners have deleted are left out.
#[utoipa::path(
    get,
    path = "/admin/v1/failed-jobs",
    operation_id = "list_failed_jobs",
    tag = "failed jobs",
    params(
        Given,
        ("standing" = Option<String>, Query,
         description = "`open` unless given: nothing was decided. Or `replayed`, or `discarded`."),
        ("limit" = Option<u32>, Query, description = "Jobs per page, 1 to 100.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page.", body = FailedJobPage),
        (status = 404, description = "No such tenant."),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(in crate::admin) async fn list(
    State(admin): State<Admin>,
    _: Observer,
    RawQuery(query): RawQuery,
) -> Result<Json<FailedJobPage>, Error> {
    let mut given = Given::default();
    let mut page = FailedPage { standing: Standing::Open, before: None, limit: DEFAULT_LIMIT };
    let errors = query::read(query.as_deref().unwrap_or_default(), |name, value| {
        given.set(name, value).unwrap_or_else(|| set(&mut page, name, value))
    });
    if !errors.is_empty() {
        return Err(Error::Fields(errors));
    }
    let filter = given.resolve(&admin).await?;
    // One more than the page holds tells whether there is a next one.
    let probe = FailedPage { limit: page.limit + 1, ..page };
    let mut found = bounded(admin.store.failed_jobs(&filter, &probe)).await?;
    let size = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let next_cursor = found.last().filter(|_| more).map(|job| cursor::encode(job.id.as_uuid()));
    Ok(Json(FailedJobPage { jobs: found.into_iter().map(FailedView::from).collect(), next_cursor }))
}

fn set(page: &mut FailedPage, name: &str, value: &str) -> Result<(), ProblemField> {
    match name {
        "standing" => {
            let choice = |error: UnknownWord| {
                ProblemField::parameter(name, "choice", format!("expected one of {}", error.allowed))
            };
            page.standing = value.parse().map_err(choice)?;
        }
        "limit" => {
            let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            let expected = || format!("expected an integer from 1 to {MAX_LIMIT}");
            page.limit = limit.ok_or_else(|| ProblemField::parameter(name, "range", expected()))?;
        }
        "cursor" => {
            let expected = "expected `next_cursor` of an earlier page";
            let cursor = cursor::decode(value);
            let last = cursor.ok_or_else(|| ProblemField::parameter(name, "cursor", expected))?;
            page.before = Some(JobId::from_uuid(last));
        }
        _ => {
            let allowed = [&filter::PARAMETERS[..], &["standing", "limit", "cursor"]].concat();
            return Err(query::unknown(name, &allowed));
        }
    }
    Ok(())
}
