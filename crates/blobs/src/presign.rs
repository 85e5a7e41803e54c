//! Links that let a caller read an object from the store directly.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use url::Url;

use crate::{Blobs, Error};

/// How long a link works, and what the store answers with.
#[derive(Debug, Clone)]
pub struct Presign<'a> {
    /// At most a week, by the protocol; a quarter of an hour is plenty.
    pub ttl: Duration,
    /// The media type to answer with, instead of the stored one.
    pub content_type: Option<&'a str>,
    /// The `Content-Disposition` to answer with.
    pub content_disposition: Option<&'a str>,
}

impl Blobs {
    /// A link to the object under the public endpoint; `None` where none is configured. Anybody who has the
    /// link can read the object: never store or log it. It is made without asking the store, whether the
    /// object exists or not.
    ///
    /// # Errors
    /// When `ttl` is out of range.
    pub async fn presign_get(&self, key: &str, link: Presign<'_>) -> Result<Option<Url>, Error> {
        let Some(presigner) = &self.0.presigner else { return Ok(None) };
        let ttl = PresigningConfig::expires_in(link.ttl)
            .map_err(|error| Error::unavailable("presign", key, error))?;
        let get = presigner.get_object().bucket(&self.0.bucket).key(key);
        let get = get.set_response_content_type(link.content_type.map(str::to_owned));
        let get = get.set_response_content_disposition(link.content_disposition.map(str::to_owned));
        let signed = get.presigned(ttl).await.map_err(|error| Error::from_sdk("presign", key, error))?;
        Url::parse(signed.uri()).map(Some).map_err(|error| Error::unavailable("presign", key, error))
    }
}
