//! Pictures that are sent once and named by many jobs.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::transport::{Body, Call};
use crate::{Client, Error};

/// A picture that jobs can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its id, for [`crate::CaptionRequest::image_file`].
    pub id: Uuid,
    /// Media type by content.
    pub content_type: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// When it was first sent.
    pub created_at: DateTime<Utc>,
    /// When it is deleted unless it is used before.
    pub expires_at: DateTime<Utc>,
}

impl Client {
    /// Sends a picture. The same bytes again are the same file.
    ///
    /// # Errors
    /// [`Error::Problem`] when it is no supported image, among others.
    pub async fn upload(&self, picture: impl Into<Bytes>) -> Result<File, Error> {
        let mut call = Call::new(Method::POST, self.url("v1/files")?);
        call.body = Body::Picture(picture.into());
        self.transport.json(&call).await
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn file(&self, id: Uuid) -> Result<File, Error> {
        self.transport.json(&Call::new(Method::GET, self.url(&format!("v1/files/{id}"))?)).await
    }

    /// Deletes a file. Jobs that name it keep their picture.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn delete_file(&self, id: Uuid) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, self.url(&format!("v1/files/{id}"))?);
        self.transport.send(&call).await.map(drop)
    }
}
