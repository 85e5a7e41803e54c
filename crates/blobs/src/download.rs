//! Reading an object in pieces.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use aws_sdk_s3::{operation::get_object::GetObjectOutput, primitives::ByteStream};
use bytes::Bytes;
use futures_util::Stream;

use crate::{Blobs, Error, objects::unsigned};

/// A range of an object's bytes, as in the HTTP header `Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From `first` to `last`, both included; to the end where the object is shorter.
    Between {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// From `first` to the end.
    From {
        /// Offset of the first byte.
        first: u64,
    },
    /// The last `length` bytes; all where the object is shorter.
    Last {
        /// How many.
        length: u64,
    },
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between { first, last } => write!(f, "bytes={first}-{last}"),
            Self::From { first } => write!(f, "bytes={first}-"),
            Self::Last { length } => write!(f, "bytes=-{length}"),
        }
    }
}

/// An object, or a range of it, on its way.
#[derive(Debug)]
pub struct Download {
    /// The bytes. A store that stops sending ends it with an error.
    pub body: BodyStream,
    /// Size of the whole object.
    pub size_bytes: u64,
    /// Size of `body`.
    pub content_length: u64,
    /// `bytes first-last/size`, where a range was asked for.
    pub content_range: Option<String>,
    /// Its media type.
    pub content_type: Option<String>,
    /// Its entity tag, quoted.
    pub etag: Option<String>,
}

impl Blobs {
    /// Opens the object, or a range of it, for reading.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InvalidRange`] when the range begins past the end; or when the store is
    /// unavailable or refuses.
    pub async fn open(&self, key: &str, range: Option<ByteRange>) -> Result<Download, Error> {
        let get = self.0.client.get_object().bucket(&self.0.bucket).key(key);
        let object = get.set_range(range.map(|range| range.to_string())).send().await;
        let object = object.map_err(|error| Error::from_sdk("get", key, error))?;
        Ok(download(key, object))
    }

    /// Opens the object from byte `first` on, as long as its entity tag is still `etag`: for going on with what
    /// was cut off.
    ///
    /// # Errors
    /// [`Error::Changed`] when it is another object by now; else as [`Blobs::open`].
    pub async fn open_unchanged(&self, key: &str, first: u64, etag: &str) -> Result<Download, Error> {
        let get = self.0.client.get_object().bucket(&self.0.bucket).key(key).if_match(etag);
        let range = (first > 0).then(|| ByteRange::From { first }.to_string());
        let object = get.set_range(range).send().await;
        let object = object.map_err(|error| Error::from_sdk("get", key, error))?;
        Ok(download(key, object))
    }
}

fn download(key: &str, object: GetObjectOutput) -> Download {
    let content_length = unsigned(object.content_length());
    let total = object.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    Download {
        size_bytes: total.unwrap_or(content_length),
        content_length,
        content_range: object.content_range,
        content_type: object.content_type,
        etag: object.e_tag,
        body: BodyStream { key: key.to_owned(), bytes: object.body },
    }
}

/// The bytes of a [`Download`].
#[derive(Debug)]
pub struct BodyStream {
    key: String,
    bytes: ByteStream,
}

impl Stream for BodyStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = Pin::new(&mut self.bytes).poll_next(cx);
        chunk.map_err(|error| Error::unavailable("read", &self.key, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_http_has_them() {
        assert_eq!(ByteRange::Between { first: 2, last: 5 }.to_string(), "bytes=2-5");
        assert_eq!(ByteRange::From { first: 2 }.to_string(), "bytes=2-");
        assert_eq!(ByteRange::Last { length: 2 }.to_string(), "bytes=-2");
    }
}
