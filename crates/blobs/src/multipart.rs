//! A multipart upload that does not outlive its future.

use std::mem;

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::{Blobs, Error, objects::utc};

/// An upload in parts. Unless completed or aborted it is aborted in the background when dropped; parts of an
/// upload nobody ends would be stored, and paid for, for ever.
pub(crate) struct Multipart {
    blobs: Blobs,
    key: String,
    /// `None` once there is nothing left to abort.
    upload_id: Option<String>,
    parts: Vec<CompletedPart>,
}

impl Multipart {
    pub(crate) async fn start(blobs: &Blobs, key: &str, content_type: &str) -> Result<Self, Error> {
        let create = blobs.0.client.create_multipart_upload().bucket(&blobs.0.bucket).key(key);
        let created = create.content_type(content_type).send().await;
        let created = created.map_err(|error| Error::from_sdk("start upload of", key, error))?;
        let Some(upload_id) = created.upload_id else {
            return Err(Error::unavailable("start upload of", key, "the store gave it no id"));
        };
        Ok(Self { blobs: blobs.clone(), key: key.to_owned(), upload_id: Some(upload_id), parts: Vec::new() })
    }

    /// Sends the next part. All but the last have at least 5 MiB.
    pub(crate) async fn send(&mut self, part: Bytes) -> Result<(), Error> {
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let upload = self.blobs.0.client.upload_part().bucket(&self.blobs.0.bucket).key(&self.key);
        let upload = upload.set_upload_id(self.upload_id.clone()).part_number(number);
        let sent = upload.body(ByteStream::from(part)).send().await;
        let sent = sent.map_err(|error| Error::from_sdk("upload a part of", &self.key, error))?;
        self.parts.push(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
        Ok(())
    }

    /// Makes the parts one object.
    pub(crate) async fn complete(&mut self) -> Result<(), Error> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(mem::take(&mut self.parts))).build();
        let complete =
            self.blobs.0.client.complete_multipart_upload().bucket(&self.blobs.0.bucket).key(&self.key);
        let completed = complete.set_upload_id(self.upload_id.clone()).multipart_upload(parts).send().await;
        completed.map_err(|error| Error::from_sdk("complete upload of", &self.key, error))?;
        self.upload_id = None;
        Ok(())
    }

    /// Deletes the parts. What the store does not delete now is left to its own clean-up, and logged.
    pub(crate) async fn abort(mut self) {
        if let Some(upload_id) = self.upload_id.take() {
            abort(&self.blobs, &self.key, upload_id).await;
        }
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        let Some(upload_id) = self.upload_id.take() else { return };
        // Outside a runtime the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (blobs, key) = (self.blobs.clone(), mem::take(&mut self.key));
            let aborts = blobs.0.aborts.clone();
            aborts.spawn_on(async move { abort(&blobs, &key, upload_id).await }, &runtime);
        }
    }
}

async fn abort(blobs: &Blobs, key: &str, upload_id: String) {
    let abort = blobs.0.client.abort_multipart_upload().bucket(&blobs.0.bucket).key(key).upload_id(upload_id);
    let aborted = abort.send().await.map_err(|error| Error::from_sdk("abort upload of", key, error));
    match aborted {
        Ok(_) | Err(Error::NotFound { .. }) => {}
        Err(error) => {
            tracing::warn!(key, error = &error as &dyn std::error::Error, "left parts of an upload")
        }
    }
}

impl Blobs {
    /// Deletes the parts of uploads under `prefix` that began before `before` and were never ended, because
    /// their process died, and returns how many there were. At most a thousand a call. Idempotent.
    ///
    /// # Errors
    /// When the store is unavailable or refuses.
    pub async fn abort_uploads(&self, prefix: &str, before: DateTime<Utc>) -> Result<usize, Error> {
        let list = self.0.client.list_multipart_uploads().bucket(&self.0.bucket).prefix(prefix).send().await;
        let list = list.map_err(|error| Error::from_sdk("list uploads of", prefix, error))?;
        let mut aborted = 0;
        for upload in list.uploads().iter().filter(|upload| utc(upload.initiated()) < before) {
            if let (Some(key), Some(upload_id)) = (upload.key(), upload.upload_id()) {
                abort(self, key, upload_id.to_owned()).await;
                aborted += 1;
            }
        }
        Ok(aborted)
    }
}
