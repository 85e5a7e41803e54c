//! `GET /v1/files/{id}`.

use axum::Json;
use axum::extract::State;

use super::{FILE, FilePath, FileView, Files};
use crate::deadline::bounded;
use crate::{Error, Problem, Reader};

/// Show a file.
#[utoipa::path(
    get,
    path = "/v1/files/{id}",
    tag = "files",
    params(("id" = uuid::Uuid, Path, description = "The file's id.")),
    responses(
        (status = 200, description = "What is known of it.", body = FileView),
        (status = 401, description = "No working key.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such file.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(crate) async fn show(
    State(files): State<Files>,
    Reader(tenant): Reader,
    FilePath(id): FilePath,
) -> Result<Json<FileView>, Error> {
    let file = bounded(files.store.file(tenant, id)).await?.ok_or(FILE)?;
    Ok(Json(file.into()))
}
