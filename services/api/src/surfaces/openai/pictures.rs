//! Pictures in an answer, as base64, written as they are read: an answer of ten large pictures is never held.

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_blobs::Download;
use darkroom_jobs::ArtifactId;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::Error;
use crate::deadline::bounded;
use crate::results::Results;

type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// A body made of texts and of files in base64.
#[derive(Default)]
pub(super) struct Pieces {
    pieces: Vec<Chunks>,
}

impl Pieces {
    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        let text = Bytes::from(text.into());
        self.pieces.push(stream::iter([Ok(text)]).boxed());
        self
    }

    pub(super) fn base64(mut self, download: Download) -> Self {
        self.pieces.push(base64(chunks(download)));
        self
    }

    /// A file that is opened when its turn comes.
    pub(super) fn base64_later(
        mut self,
        download: impl Future<Output = Result<Download, Error>> + Send + 'static,
    ) -> Self {
        self.pieces.push(base64(stream::once(download).map_ok(chunks).try_flatten().boxed()));
        self
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::iter(self.pieces).flatten())
    }
}

fn chunks(download: Download) -> Chunks {
    download.body.map_err(Error::from).boxed()
}

impl Results {
    /// Opens a result's file.
    pub(super) async fn open(self, artifact: ArtifactId) -> Result<Download, Error> {
        let key = self.key(artifact).await?;
        Ok(self.blobs.open(&key, None).await?)
    }

    /// All of a result's file.
    pub(super) async fn bytes(self, artifact: ArtifactId, max_bytes: u64) -> Result<Bytes, Error> {
        let key = self.key(artifact).await?;
        Ok(self.blobs.get(&key, max_bytes).await?)
    }

    async fn key(&self, artifact: ArtifactId) -> Result<String, Error> {
        let object = bounded(self.store.artifact_object(artifact)).await?;
        Ok(object.ok_or(Error::NotFound("result"))?.key)
    }
}

/// Encodes chunks as they come. Three bytes make four characters, so up to two wait for the next chunk.
fn base64(chunks: Chunks) -> Chunks {
    let ended = stream::iter([Ok(None)]);
    let chunks = chunks.map_ok(Some).chain(ended);
    let encode = |rest: &mut Vec<u8>, chunk: Result<Option<Bytes>, Error>| {
        let text = chunk.map(|chunk| {
            let last = chunk.is_none();
            rest.extend_from_slice(&chunk.unwrap_or_default());
            let whole = if last { rest.len() } else { rest.len() / 3 * 3 };
            let text = BASE64_STANDARD.encode(&rest[..whole]);
            rest.drain(..whole);
            Bytes::from(text)
        });
        std::future::ready(Some(text))
    };
    chunks.scan(Vec::new(), encode).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_encoded_whatever_the_size_of_their_chunks() {
        let bytes: Vec<u8> = (0..=255).collect();
        for size in [1, 2, 3, 7, 255, 256, 300] {
            let chunks: Vec<_> = bytes.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            let encoded: Vec<Bytes> = base64(stream::iter(chunks).boxed()).try_collect().await.unwrap();
            assert_eq!(encoded.concat(), BASE64_STANDARD.encode(&bytes).into_bytes(), "{size}");
        }
    }
}
