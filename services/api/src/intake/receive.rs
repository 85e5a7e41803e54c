//! Reading a submission's body, in bounded memory and bounded time.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header::CONTENT_TYPE};

use darkroom_blobs::{UploadError, input_key};
use darkroom_jobs::{Event, FileId, JobId, TenantId, WebhookForm};
use darkroom_pictures::{HeaderScan, ImageHeader, Unusable};
use futures_util::{Stream, TryStreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use tower_http::timeout::{TimeoutBody, TimeoutError};

use super::document::{self, MAX_DOCUMENT_BYTES};
use super::form::{Form, FormRules, Others, Role, read_text};
use super::idempotency::request_hash;
use super::{Intake, Staged};
use crate::auth::TenantKey;
use crate::{Error, shares};

pub(super) const JSON: &str = "application/json";
pub(super) const FORM: &str = "multipart/form-data";
/// The form of a submission.
const PARTS: FormRules = FormRules {
    images: &["image"],
    texts: &["job"],
    others: Others::Refused,
    key: |id| input_key(id),
    origin: Origin::Sent,
};
/// What a submission may be.
const MEDIA_TYPES: &str = "application/json, or multipart/form-data with the parts `job` and `image`";
/// Largest picture: 50 MiB, the limit of the services that callers come from.
pub(super) const MAX_IMAGE_BYTES: u64 = 52_428_800;
/// Both, and room for the headers of parts.
pub(crate) const MAX_REQUEST_BYTES: usize = 52_428_800 + MAX_DOCUMENT_BYTES + 64 * 1024;

/// A picture of the largest size over a slow line of 1.5 Mbit/s.
pub(super) const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest silence in the middle of a body.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a place among the uploads.
pub(super) const PLACE_TIMEOUT: Duration = Duration::from_secs(20);

/// A submission's body.
#[derive(Debug)]
pub(crate) struct Received {
    /// The id its job will have, if it becomes one.
    pub(super) id: JobId,
    pub(super) document: Value,
    pub(super) image: Option<ReceivedImage>,
    /// What the messages to its webhook look like.
    pub(super) form: WebhookForm,
    /// What they tell, where that does not stand in the document.
    pub(super) events: Option<Vec<Event>>,
    /// Of a large document, its place among those that are held at once.
    pub(super) _place: Option<shares::Place>,
}

impl Received {
    /// What is the same when the same key sends the same again.
    pub(crate) fn fingerprint(&self, key: &TenantKey) -> [u8; 32] {
        let sent = self.image.as_ref().map(|image| &image.sha256);
        let request = request_hash(&self.document, sent);
        Sha256::new_with_prefix(key.id.as_bytes()).chain_update(request).finalize().into()
    }

    /// A submission with the picture that came along.
    pub(super) fn with_image(id: JobId, document: Value, image: Option<ReceivedImage>) -> Self {
        Self { id, document, image, form: WebhookForm::Native, events: None, _place: None }
    }

    /// The same with messages in another form.
    pub(crate) fn told_as(self, form: WebhookForm) -> Self {
        Self { form, ..self }
    }

    /// The same with messages about these events.
    pub(crate) fn told_of(self, events: Vec<Event>) -> Self {
        Self { events: Some(events), ..self }
    }
}

/// Where a picture came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was sent along.
    Sent,
    /// It was fetched from the URL in the document.
    Fetched,
    /// It is a file of its own.
    File,
}

impl Origin {
    /// The refusal of a picture that is too large.
    pub(super) fn too_large(self) -> Error {
        let what = match self {
            Self::Sent => "the part `image`",
            Self::Fetched => "the picture at `image_url`",
            Self::File => "the file",
        };
        Error::TooLarge { what, max_bytes: MAX_IMAGE_BYTES }
    }
}

/// A picture that is stored already.
#[derive(Debug)]
pub(super) struct ReceivedImage {
    /// Guards its object, unless that is somebody else's.
    pub(super) staged: Option<Staged>,
    pub(super) origin: Origin,
    /// The file that it is.
    pub(super) file: Option<FileId>,
    pub(super) key: String,
    pub(super) size_bytes: u64,
    pub(super) sha256: [u8; 32],
    pub(super) header: Result<ImageHeader, Unusable>,
}

impl Intake {
    /// Reads the body, as JSON or multipart.
    pub(crate) async fn receive(&self, tenant: TenantId, request: Request) -> Result<Received, Error> {
        match media_type(request.headers()).as_str() {
            JSON => {
                let body = self.read_document(tenant, request).await?;
                Ok(self.received(body.parse()?, body))
            }
            FORM => {
                let mut form = self.read_form(request, &PARTS).await?;
                let document = match form.texts.remove("job") {
                    Some(text) => document::parse(text.as_bytes())?,
                    None => json!({"pipeline": "image-to-text"}),
                };
                Ok(form.into_received(document))
            }
            _ => Err(Error::UnsupportedMediaType(MEDIA_TYPES)),
        }
    }

    /// Reads a form whose picture, if there is one, is stored as it comes.
    pub(crate) async fn read_form(&self, request: Request, rules: &FormRules) -> Result<Form, Error> {
        let _place = self.place().await?;
        let parts = self.read_parts(request, rules);
        timeout(UPLOAD_TIMEOUT, parts).await.map_err(|_| Error::SlowBody)?
    }

    pub(super) async fn place(&self) -> Result<Place<'_>, Error> {
        let permit = timeout(PLACE_TIMEOUT, self.uploads.acquire()).await.map_err(|_| Error::Busy)?;
        metrics::gauge!("darkroom_uploads_in_flight").increment(1);
        Ok(Place { _permit: permit.map_err(Error::internal)? })
    }

    async fn read_parts(&self, request: Request, rules: &FormRules) -> Result<Form, Error> {
        refuse_announced(request.body(), MAX_REQUEST_BYTES)?;
        let request = request.map(|body| Body::new(TimeoutBody::new(SILENCE_TIMEOUT, body)));
        let parts = Multipart::from_request(request, &()).await;
        let mut parts =
            parts.map_err(|_| Error::Malformed("the multipart boundary is missing".to_owned()))?;
        let mut form = Form { id: self.mint.job_id(), image: None, texts: BTreeMap::new() };
        while let Some(part) = parts.next_field().await.map_err(unreadable)? {
            match rules.role(&part, &form)? {
                Role::Image => {
                    let key = (rules.key)(form.id);
                    form.image = Some(self.stage_stream(key, part, rules.origin, unreadable).await?);
                }
                Role::Text(name) => drop(form.texts.insert(name, read_text(part, name).await?)),
                // The next one is looked for behind its end.
                Role::None => {}
            }
        }
        Ok(form)
    }

    /// Stores a picture as it comes, and looks at its header meanwhile. `broken` says what becomes of an error of the
    /// stream.
    pub(super) async fn stage_stream<E>(
        &self,
        key: String,
        bytes: impl Stream<Item = Result<Bytes, E>>,
        origin: Origin,
        broken: impl FnOnce(E) -> Error,
    ) -> Result<ReceivedImage, Error> {
        // From here on, whatever happens, the object is deleted unless it is kept.
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
        Ok(ReceivedImage {
            staged: Some(staged),
            origin,
            file: None,
            key,
            size_bytes,
            sha256,
            header: scan.finish(),
        })
    }
}

/// One of the uploads that run at once.
pub(super) struct Place<'a> {
    _permit: SemaphorePermit<'a>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        metrics::gauge!("darkroom_uploads_in_flight").decrement(1);
    }
}

/// The media type a request says its body has, in lower case and without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Refuses a body that says itself that it is too large, before it is read.
pub(super) fn refuse_announced(body: &Body, max_bytes: usize) -> Result<(), Error> {
    let max_bytes = max_bytes as u64;
    if body.size_hint().lower() > max_bytes {
        Err(Error::TooLarge { what: "the body", max_bytes })
    } else {
        Ok(())
    }
}

pub(super) fn unreadable(error: MultipartError) -> Error {
    from_body(&error, MAX_REQUEST_BYTES)
}

/// Why a body could not be read, by the causes of `error`.
pub(super) fn from_body(error: &(dyn std::error::Error + 'static), max_bytes: usize) -> Error {
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
