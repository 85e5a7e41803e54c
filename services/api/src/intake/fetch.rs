//! Fetching a picture that a document names by its URL.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use darkroom_blobs::input_key;
use darkroom_jobs::{InputImage, JobId, TenantId};
use darkroom_outbound::Error as CallError;
use futures_util::stream;
use serde_json::Value;
use tokio::time::timeout;

use super::Intake;
use super::data_uri;
use super::receive::{MAX_IMAGE_BYTES, Origin, ReceivedImage};
use crate::{Error, ProblemField};

/// Where errors about the URL point.
pub(super) const IMAGE_URL: &str = "/input/image_url";
/// How long a picture may take, redirects included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

impl Intake {
    /// Fetches a picture and stores it like one that was sent. `patience` is how long it may wait for its turn.
    pub(super) async fn fetch(
        &self,
        tenant: TenantId,
        id: JobId,
        url: &str,
        patience: Duration,
    ) -> Result<ReceivedImage, Error> {
        if let Some(uri) = data_uri::data_of(url) {
            return self.stage_data(id, uri).await;
        }
        // A place of its own kind: slow servers of strangers hold up nobody who sends a picture.
        let place = timeout(patience, self.fetches.place(tenant)).await.map_err(|_| Error::Busy)?;
        let _place = place.map_err(Error::internal)?;
        let fetched = timeout(FETCH_TIMEOUT, self.fetch_whole(id, url)).await;
        fetched.map_err(|_| refused("fetch", "cannot be fetched: no whole answer in time"))?
    }

    /// Checks everything in a document but its picture.
    pub(super) fn check_around_picture(&self, document: &Value) -> Result<(), Error> {
        self.parse(document, Some(stand_in()), 0)?;
        Ok(())
    }

    /// Stores the picture that a data URI holds.
    async fn stage_data(&self, id: JobId, uri: &str) -> Result<ReceivedImage, Error> {
        let bytes = data_uri::decode(uri).map_err(|detail| refused("data_uri", detail))?;
        let bytes = stream::iter([Ok::<_, Infallible>(Bytes::from(bytes))]);
        not_empty(self.stage_stream(input_key(id), bytes, Origin::Fetched, |never| match never {}).await?)
    }

    async fn fetch_whole(&self, id: JobId, url: &str) -> Result<ReceivedImage, Error> {
        let fetched = self.outbound.fetch(url, FETCH_TIMEOUT).await.map_err(|error| not_fetched(&error))?;
        if fetched.announced_bytes().is_some_and(|bytes| bytes > MAX_IMAGE_BYTES) {
            return Err(Origin::Fetched.too_large());
        }
        let bytes = fetched.into_stream();
        not_empty(
            self.stage_stream(input_key(id), bytes, Origin::Fetched, |error| not_fetched(&error)).await?,
        )
    }
}

fn not_empty(image: ReceivedImage) -> Result<ReceivedImage, Error> {
    if image.size_bytes == 0 { Err(refused("empty", "the file is empty")) } else { Ok(image) }
}

fn refused(code: &str, detail: impl Into<String>) -> Error {
    Error::Fields(vec![ProblemField::pointer(IMAGE_URL, code, detail)])
}

/// What callers are told: what the other side did, and nothing about this one.
fn not_fetched(error: &CallError) -> Error {
    match error {
        CallError::Refused(refusal) => refused(refusal.code(), refusal.to_string()),
        error => refused("fetch", format!("cannot be fetched: {error}")),
    }
}

/// Stands in for the picture while the rest of the document is checked.
fn stand_in() -> InputImage {
    InputImage {
        key: String::new(),
        content_type: "application/octet-stream".to_owned(),
        size_bytes: 1,
        sha256: String::new(),
        width: 1,
        height: 1,
    }
}
