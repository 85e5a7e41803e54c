//! Storing a stream of unknown length in bounded memory.

use std::mem;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use crate::{Blobs, Stored, UploadError, multipart::Multipart};

/// Size of a part: the protocol's least. One of them, at most, is in memory per upload.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// Callers say what it is by its content, later.
const CONTENT_TYPE: &str = "application/octet-stream";
/// From so many bytes on there is memory for a whole part.
const SMALL_BYTES: usize = 64 * 1024;

impl Blobs {
    /// Stores what `stream` yields at `key`, in one PUT below 5 MiB and else in parts sent as they fill. Reads
    /// no further while a part is being sent. Give the stream a time limit of its own: this waits for it.
    ///
    /// The object appears whole or not at all: parts are deleted when anything fails or the future is dropped.
    ///
    /// # Errors
    /// [`UploadError::TooLarge`] as soon as the stream goes past `max_bytes`; the stream's own error; or the
    /// store's.
    pub async fn upload<S, E>(&self, key: &str, stream: S, max_bytes: u64) -> Result<Stored, UploadError<E>>
    where
        S: Stream<Item = Result<Bytes, E>>,
    {
        let mut upload = Upload::new(self, key, max_bytes);
        let outcome = upload.read(stream).await;
        if outcome.is_err()
            && let Some(parts) = upload.parts.take()
        {
            parts.abort().await;
        }
        outcome
    }
}

struct Upload<'a> {
    blobs: &'a Blobs,
    key: &'a str,
    max_bytes: u64,
    size_bytes: u64,
    hasher: Sha256,
    /// Less than a part that waits to be sent.
    pending: BytesMut,
    parts: Option<Multipart>,
}

impl<'a> Upload<'a> {
    fn new(blobs: &'a Blobs, key: &'a str, max_bytes: u64) -> Self {
        Self {
            blobs,
            key,
            max_bytes,
            size_bytes: 0,
            hasher: Sha256::new(),
            pending: BytesMut::new(),
            parts: None,
        }
    }

    async fn read<S, E>(&mut self, stream: S) -> Result<Stored, UploadError<E>>
    where
        S: Stream<Item = Result<Bytes, E>>,
    {
        let mut stream = pin!(stream);
        while let Some(chunk) = stream.next().await {
            let mut chunk = chunk.map_err(UploadError::Source)?;
            self.size_bytes += chunk.len() as u64;
            if self.size_bytes > self.max_bytes {
                return Err(UploadError::TooLarge { max_bytes: self.max_bytes });
            }
            self.hasher.update(&chunk);
            while !chunk.is_empty() {
                self.take(&mut chunk);
                if self.pending.len() == PART_BYTES {
                    let part = mem::take(&mut self.pending).freeze();
                    self.send(part).await?;
                }
            }
        }
        self.finish().await
    }

    async fn send(&mut self, part: Bytes) -> Result<(), crate::Error> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(Multipart::start(self.blobs, self.key, CONTENT_TYPE).await?),
        };
        parts.send(part).await
    }

    /// Takes what there is room for in the part. It is filled exactly: what lies behind its end would keep its
    /// memory.
    fn take(&mut self, chunk: &mut Bytes) {
        let taken = chunk.split_to(chunk.len().min(PART_BYTES - self.pending.len()));
        if self.pending.len() + taken.len() > SMALL_BYTES {
            // At once, since a buffer that grows by doubling leaves behind what it grew out of.
            self.pending.reserve(PART_BYTES - self.pending.len());
        }
        self.pending.extend_from_slice(&taken);
    }

    async fn finish<E>(&mut self) -> Result<Stored, UploadError<E>> {
        let sha256 = self.hasher.finalize_reset().into();
        let rest = self.pending.split().freeze();
        if self.parts.is_none() {
            self.blobs.put_hashed(self.key, rest, CONTENT_TYPE, sha256).await?;
        } else if !rest.is_empty() {
            self.send(rest).await?;
        }
        if let Some(parts) = &mut self.parts {
            parts.complete().await?;
        }
        Ok(Stored { size_bytes: self.size_bytes, sha256 })
    }
}
