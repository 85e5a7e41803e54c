//! Files: what `POST /v1/files` keeps, under the URLs that predictions name them by.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use darkroom_store::File;
use serde_json::{Value, json};

use crate::deadline::bounded;
use crate::files::{FilePath, Files};
use crate::intake::{Intake, Kept, Others};
use crate::jobs::Jobs;
use crate::{Error, Links, Reader, Submitter};

const PATH: &str = "/replicate/v1/files";

pub(super) async fn upload(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    request: Request,
) -> Result<Response, Error> {
    let (Kept::New(file) | Kept::Known(file)) =
        intake.keep_file(key.tenant, request, Others::Skipped).await?;
    Ok((StatusCode::CREATED, Json(view(&file, &jobs.links))).into_response())
}

pub(super) async fn show(
    State(files): State<Files>,
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    FilePath(id): FilePath,
) -> Result<Json<Value>, Error> {
    let file = bounded(files.store.file(tenant, id)).await?.ok_or(Error::NotFound("file"))?;
    Ok(Json(view(&file, &jobs.links)))
}

/// The id in the URL of a file that was uploaded here.
pub(super) fn id_in<'u>(url: &'u str, links: &Links) -> Option<&'u str> {
    url.strip_prefix(&links.path(PATH))?.strip_prefix('/')
}

fn view(file: &File, links: &Links) -> Value {
    let sha256 = hex::encode(file.sha256);
    let moment = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    json!({
        "id": file.id, "name": file.id, "content_type": file.content_type, "size": file.size_bytes,
        "etag": sha256, "checksums": {"sha256": sha256}, "metadata": {},
        "created_at": moment(file.created_at), "expires_at": moment(file.expires_at),
        "urls": {"get": links.path(&format!("{PATH}/{}", file.id))}
    })
}
