//! Pictures that a document names instead of bringing them along.

use darkroom_jobs::{FileId, Pipeline, TenantId};
use serde_json::Value;

use super::fetch::IMAGE_URL;
use super::receive::{PLACE_TIMEOUT, ReceivedImage};
use super::{Intake, Received};
use crate::deadline::bounded;
use crate::{Error, ProblemField};

/// Where errors about the file point.
const IMAGE_FILE: &str = "/input/image_file";

/// What a document names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named<'a> {
    /// A URL where the picture lies, or a data URI that is the picture.
    Url(&'a str),
    /// The id of a file.
    File(&'a str),
}

impl Received {
    /// What stands for the picture.
    pub(super) fn named(&self) -> Result<Option<Named<'_>>, Error> {
        if self.document["pipeline"] != Pipeline::ImageToText.as_str() {
            return Ok(None);
        }
        let text = |pointer| self.document.pointer(pointer).and_then(Value::as_str);
        let conflict =
            |pointer, detail| Err(Error::Fields(vec![ProblemField::pointer(pointer, "conflict", detail)]));
        match (text(IMAGE_URL), text(IMAGE_FILE)) {
            (Some(_), Some(_)) => conflict(IMAGE_FILE, "name a file or a URL, not both"),
            (Some(_), _) if self.image.is_some() => {
                conflict(IMAGE_URL, "send the picture or its URL, not both")
            }
            (_, Some(_)) if self.image.is_some() => {
                conflict(IMAGE_FILE, "send the picture or name its file, not both")
            }
            (Some(url), None) => Ok(Some(Named::Url(url))),
            (None, Some(id)) => Ok(Some(Named::File(id))),
            (None, None) => Ok(None),
        }
    }
}

impl Intake {
    /// The picture that a document names. Everything else in the document is checked before.
    pub(super) async fn obtain(
        &self,
        tenant: TenantId,
        received: &Received,
        named: Named<'_>,
    ) -> Result<ReceivedImage, Error> {
        self.check_around_picture(&received.document)?;
        match named {
            Named::Url(url) => self.fetch(tenant, received.id, url, PLACE_TIMEOUT).await,
            Named::File(id) => {
                let id: FileId = id.parse().map_err(|_| no_such_file())?;
                let file = bounded(self.store.file(tenant, id)).await?;
                ReceivedImage::of_file(file.ok_or_else(no_such_file)?)
            }
        }
    }
}

/// The refusal of a file that is none of the caller's.
pub(super) fn no_such_file() -> Error {
    let detail = "there is no such file: expected the id of one that was sent to /v1/files";
    Error::Fields(vec![ProblemField::pointer(IMAGE_FILE, "unknown_file", detail)])
}
