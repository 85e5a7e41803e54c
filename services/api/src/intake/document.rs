//! Reading JSON documents, in bounded memory and bounded time.
//!
//! Parsed, a document may take ten times as much memory as it has bytes. So it has at most a megabyte besides its long
//! texts, which take what they have, and are pictures as data URIs.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use darkroom_jobs::TenantId;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::timeout;

use super::receive::{PLACE_TIMEOUT, from_body, refuse_announced};
use super::{Intake, Received};
use crate::Error;
use crate::shares::{Place, Shares};

/// Largest document, without its long texts.
pub(super) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Largest document with them: a picture of 12 MiB as a data URI.
pub(super) const MAX_PICTURE_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;
/// From where on a text is long: longer than any prompt.
const LONG_TEXT_BYTES: usize = 64 * 1024;
/// Documents up to this size are read as they come. Of larger ones only some are held at once.
const SMALL_DOCUMENT_BYTES: u64 = 16 * 1024;
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(20);
const PICTURE_DOCUMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// How many documents that are not small are held at once, half of them for one tenant; the rest wait unread.
#[derive(Debug, Clone)]
pub(super) struct Places {
    large: Shares,
    with_pictures: Shares,
}

impl Default for Places {
    fn default() -> Self {
        Self { large: Shares::new(16, 8), with_pictures: Shares::new(2, 1) }
    }
}

/// A body that is a document, as it came.
#[derive(Debug)]
pub(crate) struct Document {
    bytes: Bytes,
    place: Option<Place>,
}

impl Document {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The JSON it holds.
    pub(crate) fn parse(&self) -> Result<Value, Error> {
        parse(&self.bytes)
    }

    /// The same in place of the bytes.
    pub(super) fn into_json(self) -> Result<(Value, Option<Place>), Error> {
        Ok((self.parse()?, self.place))
    }
}

impl Intake {
    /// Reads a body that is a document.
    pub(crate) async fn read_document(&self, tenant: TenantId, request: Request) -> Result<Document, Error> {
        let body = request.into_body();
        refuse_announced(&body, MAX_PICTURE_DOCUMENT_BYTES)?;
        let small = body.size_hint().upper().is_some_and(|size_bytes| size_bytes <= SMALL_DOCUMENT_BYTES);
        let place = if small { None } else { Some(free(&self.documents.large, tenant).await?) };
        let mut reading = Reading { body, bytes: Vec::new() };
        if reading.up_to(MAX_DOCUMENT_BYTES, DOCUMENT_TIMEOUT).await? == Read::Whole {
            return Ok(Document { bytes: reading.bytes.into(), place });
        }
        let place = free(&self.documents.with_pictures, tenant).await?;
        if reading.up_to(MAX_PICTURE_DOCUMENT_BYTES, PICTURE_DOCUMENT_TIMEOUT).await? == Read::InPart {
            return Err(Error::TooLarge { what: "the body", max_bytes: MAX_PICTURE_DOCUMENT_BYTES as u64 });
        }
        if bytes_without_long_texts(&reading.bytes) > MAX_DOCUMENT_BYTES {
            let what = "the document, without its pictures,";
            return Err(Error::TooLarge { what, max_bytes: MAX_DOCUMENT_BYTES as u64 });
        }
        Ok(Document { bytes: reading.bytes.into(), place: Some(place) })
    }

    /// A submission without a picture, made of what stood in `body`.
    pub(crate) fn received(&self, document: Value, body: Document) -> Received {
        Received { _place: body.place, ..Received::with_image(self.mint.job_id(), document, None) }
    }
}

async fn free(places: &Shares, tenant: TenantId) -> Result<Place, Error> {
    let place = timeout(PLACE_TIMEOUT, places.place(tenant)).await;
    place.map_err(|_| Error::Busy)?.map_err(Error::internal)
}

/// A body that is being read.
struct Reading {
    body: Body,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Whole,
    InPart,
}

impl Reading {
    /// Reads on until the end, or until there are more than `max_bytes`.
    async fn up_to(&mut self, max_bytes: usize, time: Duration) -> Result<Read, Error> {
        let reading = async {
            while self.bytes.len() <= max_bytes {
                let Some(frame) = self.body.frame().await else { return Ok(Read::Whole) };
                let frame = frame.map_err(|error| from_body(&error, MAX_PICTURE_DOCUMENT_BYTES))?;
                self.bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
            Ok(Read::InPart)
        };
        timeout(time, reading).await.map_err(|_| Error::SlowBody)?
    }
}

/// Reads JSON.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Malformed(format!("not a JSON document: {error}")))
}

/// How many bytes of a document are outside its long texts.
fn bytes_without_long_texts(document: &[u8]) -> usize {
    let mut long_texts = 0;
    let mut bytes = document.iter().enumerate();
    while let Some((_, byte)) = bytes.next() {
        if *byte != b'"' {
            continue;
        }
        let mut text = 0;
        while let Some((_, byte)) = bytes.next() {
            match byte {
                b'"' => break,
                // Whatever comes next is part of the text.
                b'\\' => drop(bytes.next()),
                _ => {}
            }
            text += 1;
        }
        if text > LONG_TEXT_BYTES {
            long_texts += text;
        }
    }
    document.len() - long_texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_texts_are_left_out() {
        let long = "x".repeat(LONG_TEXT_BYTES + 1);
        assert_eq!(bytes_without_long_texts(format!("[\"{long}\"]").as_bytes()), 4);
        let quoted = format!("[\"\\\"{long}\", \"a\"]");
        assert!(bytes_without_long_texts(quoted.as_bytes()) < 12);
        let many = format!("[{}]", "\"ab\",".repeat(100));
        assert_eq!(bytes_without_long_texts(many.as_bytes()), many.len());
        assert_eq!(bytes_without_long_texts(b"\"never ends"), 11);
    }
}
