//! `DELETE /v1/files/{id}`.

use axum::extract::State;
use axum::http::StatusCode;

use super::{FILE, FilePath, Files};
use crate::deadline::bounded;
use crate::{Error, Submitter};

/// Delete a file.
///
/// No new job can name it. Jobs that do go on; once the last of them is gone, the picture is deleted from storage.
#[utoipa::path(
    delete,
    path = "/v1/files/{id}",
    operation_id = "delete_file",
    tag = "files",
    params(("id" = uuid::Uuid, Path, description = "The file's id.")),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 404, description = "No such file."),
    ),
    security(("key" = []))
)]
pub(crate) async fn delete(
    State(files): State<Files>,
    Submitter(key): Submitter,
    FilePath(id): FilePath,
) -> Result<StatusCode, Error> {
    let deleted = bounded(files.store.delete_file(key.tenant, id)).await?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(FILE) }
}
