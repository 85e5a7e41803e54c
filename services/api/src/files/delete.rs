//! `DELETE /v1/files/{id}`.

use axum::extract::State;
use axum::http::StatusCode;

use super::{FILE, FilePath, Files};
use crate::deadline::bounded;
use crate::{Error, Problem, Submitter};

/// Delete a file.
///
/// No new job can name it. Jobs that do go on; once the last of them is gone, the picture is deleted from storage.
#[utoipa::path(
    delete,
    path = "/v1/files/{id}",
    tag = "files",
    params(("id" = uuid::Uuid, Path, description = "The file's id.")),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 401, description = "No working key.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such file.", body = Problem, content_type = "application/problem+json"),
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
