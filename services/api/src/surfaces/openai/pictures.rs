//! Pictures in an answer, as base64, written as they are read: an answer of ten large pictures is never held.

use axum::body::Bytes;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_blobs::Download;
use futures_util::Stream;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::Error;

pub(super) type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// A body made of texts and of files in base64.
#[derive(Default)]
pub(super) struct Pieces {
    pieces: Vec<Chunks>,
}

impl Pieces {
    pub(super) fn text(mut self, text: &str) -> Self {
        let text = Bytes::copy_from_slice(text.as_bytes());
        self.pieces.push(stream::iter([Ok(text)]).boxed());
        self
    }

    /// An object of `members`, of which there is at least one, and of the file in base64.
    pub(super) fn picture(mut self, file: Chunks, members: &Value) -> Self {
        self = self.text("{\"b64_json\":\"");
        self.pieces.push(base64(file));
        self.text("\",").rest_of(members)
    }

    /// The members of an object that has been begun, and its end.
    pub(super) fn rest_of(self, members: &Value) -> Self {
        self.text(members.to_string().trim_start_matches('{'))
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        stream::iter(self.pieces).flatten()
    }
}

/// A file as it is read.
pub(super) fn chunks(download: Download) -> Chunks {
    download.body.map_err(Error::from).boxed()
}

/// A file that is opened when its turn comes.
pub(super) fn chunks_later(
    download: impl Future<Output = Result<Download, Error>> + Send + 'static,
) -> Chunks {
    stream::once(download).map_ok(chunks).try_flatten().boxed()
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
