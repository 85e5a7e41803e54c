//! Whole objects: put, get, head, delete, list.

use std::time::Duration;

use aws_sdk_s3::{
    operation::head_object::HeadObjectOutput,
    primitives::{ByteStream, DateTime},
    types::{Delete, Object, ObjectIdentifier},
};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{Blobs, Error, client::OPERATION_TIMEOUT};

/// The metadata entry with an object's SHA-256 in hexadecimal digits.
pub(crate) const SHA256: &str = "sha256";

/// The most keys of one listing or deletion, set by the protocol.
const PAGE: usize = 1000;

/// Hashing less than this takes a fraction of a millisecond; more goes to a thread of its own.
const INLINE_HASH_BYTES: usize = 128 * 1024;

/// The most time for a whole body, so that a store that trickles cannot hold a worker.
const BODY_TIMEOUT: Duration = OPERATION_TIMEOUT;

/// What was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its entity tag, quoted.
    pub etag: Option<String>,
    /// When it was stored, by the store's clock.
    pub last_modified: chrono::DateTime<Utc>,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// Its size.
    pub size_bytes: u64,
    /// Its media type.
    pub content_type: Option<String>,
    /// Its entity tag, quoted.
    pub etag: Option<String>,
    /// Its SHA-256, where it was stored in one piece.
    pub sha256: Option<[u8; 32]>,
    /// When it was stored, by the store's clock.
    pub last_modified: chrono::DateTime<Utc>,
}

impl Blobs {
    /// Stores `body` at `key`, with its SHA-256 as metadata `sha256`. Idempotent for the same body.
    ///
    /// # Errors
    /// When the store is unavailable or refuses. The object may have been stored all the same.
    pub async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<Stored, Error> {
        let sha256 = digest(body.clone()).await.map_err(|error| Error::unavailable("hash", key, error))?;
        let size_bytes = body.len() as u64;
        self.put_hashed(key, body, content_type, sha256).await?;
        Ok(Stored { size_bytes, sha256 })
    }

    pub(crate) async fn put_hashed(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        sha256: [u8; 32],
    ) -> Result<(), Error> {
        let put = self.0.client.put_object().bucket(&self.0.bucket).key(key);
        let put =
            put.content_type(content_type).metadata(SHA256, hex::encode(sha256)).body(ByteStream::from(body));
        put.send().await.map(drop).map_err(|error| Error::from_sdk("put", key, error))
    }

    /// Reads the whole object.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when it is larger than `max_bytes`, of which not more than that is read;
    /// [`Error::NotFound`]; or when the store is unavailable or refuses.
    pub async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes, Error> {
        let too_large = || Error::TooLarge { key: key.to_owned(), max_bytes };
        let mut download = self.open(key, None).await?;
        if download.size_bytes > max_bytes {
            return Err(too_large());
        }
        let expected = usize::try_from(download.size_bytes).map_err(|_| too_large())?;
        let read = async {
            let mut body = BytesMut::with_capacity(expected);
            while let Some(chunk) = download.body.try_next().await? {
                body.extend_from_slice(&chunk);
                if body.len() > expected {
                    return Err(too_large());
                }
            }
            Ok(body.freeze())
        };
        timeout(BODY_TIMEOUT, read).await.map_err(|error| Error::unavailable("read", key, error))?
    }

    /// Looks the object up; `None` when there is none.
    ///
    /// # Errors
    /// When the store is unavailable or refuses.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectHead>, Error> {
        let head = self.0.client.head_object().bucket(&self.0.bucket).key(key).send().await;
        match head.map_err(|error| Error::from_sdk("look up", key, error)) {
            Ok(head) => Ok(Some(object_head(&head))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the objects, a thousand per call to the store. A key without an object is fine. Idempotent.
    ///
    /// # Errors
    /// When the store is unavailable or refuses; some of the objects may have been deleted.
    pub async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        for keys in keys.chunks(PAGE) {
            self.delete_page(keys).await?;
        }
        Ok(())
    }

    async fn delete_page(&self, keys: &[String]) -> Result<(), Error> {
        let [first, ..] = keys else { return Ok(()) };
        let failed = |source: String| Error::unavailable("delete", first, source);
        let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build());
        let objects = objects.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build();
        let delete = delete.map_err(|error| failed(error.to_string()))?;
        let request = self.0.client.delete_objects().bucket(&self.0.bucket).delete(delete);
        let answer = request.send().await.map_err(|error| Error::from_sdk("delete", first, error))?;
        // The call as a whole succeeds even when single objects could not be deleted.
        match answer.errors() {
            [] => Ok(()),
            [error, ..] => Err(failed(format!(
                "{} of {} objects not deleted, {}: {}",
                answer.errors().len(),
                keys.len(),
                error.key().unwrap_or_default(),
                error.code().unwrap_or_default()
            ))),
        }
    }

    /// Deletes every object under `prefix` and returns how many there were. Idempotent.
    ///
    /// # Errors
    /// When the store is unavailable or refuses; some of the objects may have been deleted.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<u64, Error> {
        let mut deleted = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.list(prefix, after.as_deref(), PAGE).await?;
            let keys: Vec<_> = page.into_iter().map(|object| object.key).collect();
            let Some(last) = keys.last() else { return Ok(deleted) };
            self.delete(&keys).await?;
            deleted += keys.len() as u64;
            after = Some(last.clone());
        }
    }

    /// Lists at most `limit` (and a thousand) objects under `prefix` in the order of their keys, beginning
    /// after the key `after`. An empty page is the end.
    ///
    /// # Errors
    /// When the store is unavailable or refuses.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, Error> {
        let limit = i32::try_from(limit.clamp(1, PAGE)).unwrap_or(i32::MAX);
        let list = self.0.client.list_objects_v2().bucket(&self.0.bucket).prefix(prefix).max_keys(limit);
        let page = list.set_start_after(after.map(str::to_owned)).send().await;
        let page = page.map_err(|error| Error::from_sdk("list", prefix, error))?;
        Ok(page.contents().iter().filter_map(object_info).collect())
    }
}

/// The SHA-256 of `body`, computed where it does not hold up the runtime.
async fn digest(body: Bytes) -> Result<[u8; 32], tokio::task::JoinError> {
    if body.len() <= INLINE_HASH_BYTES {
        return Ok(Sha256::digest(&body).into());
    }
    tokio::task::spawn_blocking(move || Sha256::digest(&body).into()).await
}

fn object_info(object: &Object) -> Option<ObjectInfo> {
    Some(ObjectInfo {
        key: object.key()?.to_owned(),
        size_bytes: unsigned(object.size()),
        etag: object.e_tag().map(str::to_owned),
        last_modified: utc(object.last_modified()),
    })
}

fn object_head(head: &HeadObjectOutput) -> ObjectHead {
    let sha256 = head.metadata().and_then(|metadata| metadata.get(SHA256));
    ObjectHead {
        size_bytes: unsigned(head.content_length()),
        content_type: head.content_type().map(str::to_owned),
        etag: head.e_tag().map(str::to_owned),
        sha256: sha256.and_then(|digits| hex::decode(digits).ok()?.try_into().ok()),
        last_modified: utc(head.last_modified()),
    }
}

pub(crate) fn unsigned(size: Option<i64>) -> u64 {
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default()
}

/// A store that tells no time makes an object as old as can be.
pub(crate) fn utc(time: Option<&DateTime>) -> chrono::DateTime<Utc> {
    time.and_then(|time| chrono::DateTime::from_timestamp(time.secs(), time.subsec_nanos()))
        .unwrap_or_default()
}
