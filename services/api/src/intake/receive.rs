//! Reading a submission's body, in bounded memory and bounded time.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header::CONTENT_TYPE};

use darkroom_blobs::{UploadError, input_key};
use darkroom_jobs::JobId;
use darkroom_pictures::{HeaderScan, ImageHeader, Unusable};
use futures_util::{Stream, TryStreamExt};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tokio::time::timeout;
use tower_http::timeout::{TimeoutBody, TimeoutError};

use super::{Intake, Staged};
use crate::{Error, ProblemField};

/// What a submission may be.
const MEDIA_TYPES: &str = "application/json, or multipart/form-data with the parts `job` and `image`";
/// Largest JSON document.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Documents up to this size are read as they come. Of larger ones only some are held at once: parsed they may take
/// ten times as much memory.
const SMALL_DOCUMENT_BYTES: u64 = 16 * 1024;
/// Largest picture: 50 MiB, the limit of the services that callers come from.
pub(super) const MAX_IMAGE_BYTES: u64 = 52_428_800;
/// Both, and room for the headers of parts.
pub(crate) const MAX_REQUEST_BYTES: usize = 52_428_800 + MAX_DOCUMENT_BYTES + 64 * 1024;

const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(20);
/// A picture of the largest size over a slow line of 1.5 Mbit/s.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest silence in the middle of a body.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a place among the uploads.
pub(super) const PLACE_TIMEOUT: Duration = Duration::from_secs(20);

/// A submission's body.
#[derive(Debug)]
pub(crate) struct Received {
    /// The id its job will have, if it becomes one.
    pub(super) id: JobId,
    pub(super) document: Value,
    pub(super) image: Option<ReceivedImage>,
    /// Of a large document, its place among those that are held at once.
    _place: Option<OwnedSemaphorePermit>,
}

/// Where a picture came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was sent along.
    Sent,
    /// It was fetched from the URL in the document.
    Fetched,
}

impl Origin {
    /// The refusal of a picture that is too large.
    pub(super) fn too_large(self) -> Error {
        let what = match self {
            Self::Sent => "the part `image`",
            Self::Fetched => "the picture at `image_url`",
        };
        Error::TooLarge { what, max_bytes: MAX_IMAGE_BYTES }
    }
}

/// A picture that is stored already.
#[derive(Debug)]
pub(super) struct ReceivedImage {
    pub(super) staged: Staged,
    pub(super) origin: Origin,
    pub(super) key: String,
    pub(super) size_bytes: u64,
    pub(super) sha256: [u8; 32],
    pub(super) header: Result<ImageHeader, Unusable>,
}

impl Intake {
    /// Reads the body, as JSON or multipart.
    pub(crate) async fn receive(&self, request: Request) -> Result<Received, Error> {
        let id = self.mint.job_id();
        match media_type(request.headers()).as_str() {
            "application/json" => {
                let body = request.into_body();
                refuse_announced(&body, MAX_DOCUMENT_BYTES)?;
                let place = if is_small(&body) { None } else { Some(self.document_place().await?) };
                let document = timeout(DOCUMENT_TIMEOUT, read_document(body)).await;
                let document = document.map_err(|_| Error::SlowBody)??;
                Ok(Received { id, document, image: None, _place: place })
            }
            "multipart/form-data" => {
                let _place = self.place().await?;
                let parts = self.read_parts(id, request);
                timeout(UPLOAD_TIMEOUT, parts).await.map_err(|_| Error::SlowBody)?
            }
            _ => Err(Error::UnsupportedMediaType(MEDIA_TYPES)),
        }
    }

    async fn document_place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let permit = timeout(PLACE_TIMEOUT, self.large_documents.clone().acquire_owned()).await;
        permit.map_err(|_| Error::Busy)?.map_err(Error::internal)
    }

    async fn place(&self) -> Result<Place<'_>, Error> {
        let permit = timeout(PLACE_TIMEOUT, self.uploads.acquire()).await.map_err(|_| Error::Busy)?;
        metrics::gauge!("darkroom_uploads_in_flight").increment(1);
        Ok(Place { _permit: permit.map_err(Error::internal)? })
    }

    async fn read_parts(&self, id: JobId, request: Request) -> Result<Received, Error> {
        refuse_announced(request.body(), MAX_REQUEST_BYTES)?;
        let request = request.map(|body| Body::new(TimeoutBody::new(SILENCE_TIMEOUT, body)));
        let parts = Multipart::from_request(request, &()).await;
        let mut parts =
            parts.map_err(|_| Error::Malformed("the multipart boundary is missing".to_owned()))?;
        let mut document = None;
        let mut image = None;
        while let Some(part) = parts.next_field().await.map_err(unreadable)? {
            match part.name().unwrap_or_default() {
                "job" if document.is_none() => document = Some(read_document_part(part).await?),
                "image" if image.is_none() => image = Some(self.stage(id, part).await?),
                name => return Err(Error::Fields(vec![unwanted_part(name)])),
            }
        }
        let document = document.unwrap_or_else(|| json!({"pipeline": "image-to-text"}));
        Ok(Received { id, document, image, _place: None })
    }

    async fn stage(&self, id: JobId, part: Field<'_>) -> Result<ReceivedImage, Error> {
        self.stage_stream(id, part, Origin::Sent, unreadable).await
    }

    /// Stores a picture as it comes, and looks at its header meanwhile. `broken` says what becomes of an error of the
    /// stream.
    pub(super) async fn stage_stream<E>(
        &self,
        id: JobId,
        bytes: impl Stream<Item = Result<Bytes, E>>,
        origin: Origin,
        broken: impl FnOnce(E) -> Error,
    ) -> Result<ReceivedImage, Error> {
        let key = input_key(id);
        // From here on, whatever happens, the object is deleted unless its job is accepted.
        let staged = Staged::new(key.clone(), self.blobs.clone(), self.tasks.clone());
        let mut scan = HeaderScan::default();
        let bytes = bytes.inspect_ok(|bytes| scan.push(bytes));
        let uploaded =
            self.blobs.upload(&key, bytes, MAX_IMAGE_BYTES).await.map_err(|error| match error {
                UploadError::TooLarge { .. } => origin.too_large(),
                UploadError::Source(error) => broken(error),
                UploadError::Store(error) => Error::Unavailable(error.into()),
            })?;
        let (size_bytes, sha256) = (uploaded.size_bytes, uploaded.sha256);
        Ok(ReceivedImage { staged, origin, key, size_bytes, sha256, header: scan.finish() })
    }
}

/// One of the uploads that run at once.
struct Place<'a> {
    _permit: SemaphorePermit<'a>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        metrics::gauge!("darkroom_uploads_in_flight").decrement(1);
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

async fn read_document(body: Body) -> Result<Value, Error> {
    let bytes =
        to_bytes(body, MAX_DOCUMENT_BYTES).await.map_err(|error| from_body(&error, MAX_DOCUMENT_BYTES))?;
    parse_document(&bytes)
}

async fn read_document_part(mut part: Field<'_>) -> Result<Value, Error> {
    let mut document = Vec::new();
    while let Some(bytes) = part.chunk().await.map_err(unreadable)? {
        document.extend_from_slice(&bytes);
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(Error::TooLarge { what: "the part `job`", max_bytes: MAX_DOCUMENT_BYTES as u64 });
        }
    }
    parse_document(&document)
}

fn parse_document(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Malformed(format!("not a JSON document: {error}")))
}

/// Whether a body says of itself that it is small.
fn is_small(body: &Body) -> bool {
    body.size_hint().upper().is_some_and(|size_bytes| size_bytes <= SMALL_DOCUMENT_BYTES)
}

/// Refuses a body that says itself that it is too large, before it is read.
fn refuse_announced(body: &Body, max_bytes: usize) -> Result<(), Error> {
    let max_bytes = max_bytes as u64;
    if body.size_hint().lower() > max_bytes {
        Err(Error::TooLarge { what: "the body", max_bytes })
    } else {
        Ok(())
    }
}

fn unreadable(error: MultipartError) -> Error {
    from_body(&error, MAX_REQUEST_BYTES)
}

/// Why a body could not be read, by the causes of `error`.
fn from_body(error: &(dyn std::error::Error + 'static), max_bytes: usize) -> Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TimeoutError>() {
            return Error::SlowBody;
        }
        if error.is::<http_body_util::LengthLimitError>() {
            return Error::TooLarge { what: "the body", max_bytes: max_bytes as u64 };
        }
        cause = error.source();
    }
    Error::Malformed("the body is incomplete or not in the form its Content-Type says".to_owned())
}

fn unwanted_part(name: &str) -> ProblemField {
    let name: String = name.chars().take(64).collect();
    let (code, detail) = match name.as_str() {
        "job" | "image" => ("repeated", "send this part once"),
        _ => ("unknown", "unknown part: expected one of job, image"),
    };
    ProblemField::parameter(&name, code, detail)
}
