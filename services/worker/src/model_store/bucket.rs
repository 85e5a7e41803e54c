//! Prefixes of the store of objects.

use darkroom_blobs::Blobs;
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};

use super::Error;
use super::download::{Body, Resume};
use super::listing::{Digest, RemoteFile};

/// The most objects under one prefix.
const MAX_OBJECTS: usize = 100_000;

/// A prefix of a bucket.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    blobs: Blobs,
    name: String,
    /// With a slash at its end, or empty.
    prefix: String,
}

impl Bucket {
    pub(super) fn new(blobs: &Blobs, name: &str, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { blobs: blobs.in_bucket(name), name: name.to_owned(), prefix }
    }

    /// For people.
    pub(super) fn subject(&self) -> String {
        format!("s3://{}/{}", self.name, self.prefix)
    }

    /// Every object under the prefix, with its path from there.
    ///
    /// # Errors
    /// When there is none, or the store does not say.
    pub(super) async fn list(&self) -> Result<Vec<RemoteFile>, Error> {
        let mut files = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.blobs.list(&self.prefix, after.as_deref(), usize::MAX).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let inside = page.into_iter().filter_map(|object| {
                let path = object.key.strip_prefix(&self.prefix)?.to_owned();
                let is_file = !path.is_empty() && !path.ends_with('/');
                let file =
                    RemoteFile { path, size_bytes: object.size_bytes, digest: None, etag: object.etag };
                is_file.then_some(file)
            });
            files.extend(inside);
            if files.len() > MAX_OBJECTS {
                let problem = format!("there are more than {MAX_OBJECTS} objects");
                return Err(Error::layout(self.subject(), problem));
            }
        }
        if files.is_empty() { Err(Error::NotFound { subject: self.subject() }) } else { Ok(files) }
    }

    /// What names this state of the prefix: any other object, size or tag gives another name.
    pub(super) fn fingerprint(&self, files: &[RemoteFile]) -> String {
        let mut hash = Sha256::new();
        hash.update(self.subject());
        for file in files {
            let etag = file.etag.as_deref().unwrap_or_default();
            hash.update(format!("\0{}\0{}\0{etag}", file.path, file.size_bytes));
        }
        hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest that the object carries, if it was stored with one.
    ///
    /// # Errors
    /// When the store does not say.
    pub(super) async fn digest(&self, file: &RemoteFile) -> Result<Option<Digest>, Error> {
        let head = self.blobs.head(&self.key(file)).await?;
        let sha256 = head.and_then(|head| head.sha256);
        let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(sha256.map(|bytes| Digest::Sha256(hex(bytes))))
    }

    /// Opens an object for reading, from where `resume` says, if it is still the one that was listed.
    ///
    /// # Errors
    /// When it is not, or the store does not give it.
    pub(super) async fn open(&self, resume: &Resume<'_>) -> Result<Body, Error> {
        let etag = resume.file.etag.as_deref().unwrap_or("*");
        let key = self.key(resume.file);
        let object = self.blobs.open_unchanged(&key, resume.offset, etag).await?;
        let bytes = object.body.map_err(Error::from).boxed();
        Ok(Body { start: resume.offset, size_bytes: Some(object.size_bytes), etag: None, bytes })
    }

    fn key(&self, file: &RemoteFile) -> String {
        format!("{}{}", self.prefix, file.path)
    }
}
