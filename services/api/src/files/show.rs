//! `GET /v1/files/{id}`.

use axum::Json;
use axum::extract::State;

use super::{FILE, FilePath, FileView, Files};
use crate::deadline::bounded;
use crate::{Error, Reader};

/// Show a file.
#[utoipa::path(
    get,
    path = "/v1/files/{id}",
    operation_id = "show_file",
    tag = "files",
    params(("id" = uuid::Uuid, Path, description = "The file's id.")),
    responses(
        (status = 200, description = "What is known of it.", body = FileView),
        (status = 404, description = "No such file."),
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
