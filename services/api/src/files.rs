//! Files: pictures that are sent once and named in any number of jobs.

pub(crate) mod delete;
pub(crate) mod show;
pub(crate) mod upload;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use darkroom_jobs::FileId;
use darkroom_store::{File, Store};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Error;
use crate::jobs::resource::Timestamp;

/// The files in the store.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) store: Store,
}

/// A file's id out of the path. What is no id is the id of nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilePath(pub(crate) FileId);

const FILE: Error = Error::NotFound("file");

impl<S: Send + Sync> FromRequestParts<S> for FilePath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok().and_then(|Path(id)| id.parse().ok()).map(Self).ok_or(FILE)
    }
}

/// A picture that jobs can name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = File)]
pub(crate) struct FileView {
    /// Its id, for `input.image_file` of a job.
    id: Uuid,
    /// Media type by content.
    #[schema(example = "image/png")]
    content_type: String,
    /// Size of the file.
    size_bytes: u64,
    /// SHA-256 of the file in hexadecimal.
    sha256: String,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// When it was first sent.
    created_at: Timestamp,
    /// When it is deleted unless it is used before: sent again, or named by a new job.
    expires_at: Timestamp,
}

impl From<File> for FileView {
    fn from(file: File) -> Self {
        Self {
            id: file.id.as_uuid(),
            content_type: file.content_type,
            size_bytes: file.size_bytes,
            sha256: hex::encode(file.sha256),
            width: file.width,
            height: file.height,
            created_at: Timestamp(file.created_at),
            expires_at: Timestamp(file.expires_at),
        }
    }
}
