//! `GET /v1/batches/{id}`.

use axum::Json;
use axum::extract::{RawQuery, State};
use darkroom_store::JobFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::{BatchPath, BatchView};
use crate::jobs::Jobs;
use crate::jobs::list::{DEFAULT_LIMIT, JobPage, set_page};
use crate::{Error, Reader, query};

const PARAMETERS: [&str; 2] = ["limit", "cursor"];

/// A batch with a page of its jobs, the last document's first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchPage)]
pub(crate) struct BatchPageView {
    #[serde(flatten)]
    batch: BatchView,
    #[serde(flatten)]
    page: JobPage,
}

/// Show a batch: how many of its jobs are in each state, and a page of them.
#[utoipa::path(
    get,
    path = "/v1/batches/{id}",
    operation_id = "show_batch",
    tag = "batches",
    params(
        ("id" = uuid::Uuid, Path, description = "The batch's id."),
        ("limit" = Option<u32>, Query, description = "Jobs per page, 1 to 100.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "The batch and a page.", body = BatchPageView),
        (status = 404, description = "No such batch."),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(crate) async fn show(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    BatchPath(id): BatchPath,
    RawQuery(query): RawQuery,
) -> Result<Json<BatchPageView>, Error> {
    let mut filter = JobFilter { batch: Some(id), limit: DEFAULT_LIMIT, ..JobFilter::default() };
    let errors = query::read(query.as_deref().unwrap_or_default(), |name, value| {
        set_page(&mut filter, name, value).unwrap_or_else(|| Err(query::unknown(name, &PARAMETERS)))
    });
    if !errors.is_empty() {
        return Err(Error::Fields(errors));
    }
    let batch = BatchView::from(&jobs.batch(tenant, id).await?);
    Ok(Json(BatchPageView { batch, page: jobs.page(tenant, &filter).await? }))
}
