//! Where a snapshot's files are fetched from.

use super::Error;
use super::bucket::Bucket;
use super::download::{Body, Resume};
use super::hub::Hub;
use super::listing::{Digest, RemoteFile};

/// One state of a repository or prefix, which does not change.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A commit of a repository of the hub.
    Hub { hub: Hub, id: String, commit: String },
    /// A prefix of a bucket, as it was listed.
    Bucket(Bucket),
}

impl Origin {
    /// For people.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Hub { id, commit, .. } => format!("{id} at {commit}"),
            Self::Bucket(bucket) => bucket.subject(),
        }
    }

    /// What a file's bytes must add up to, where that is known.
    pub(super) async fn digest(&self, file: &RemoteFile) -> Result<Option<Digest>, Error> {
        match self {
            Self::Hub { .. } => Ok(file.digest.clone()),
            Self::Bucket(bucket) => bucket.digest(file).await,
        }
    }

    /// Opens a file for reading, from where `resume` says.
    pub(super) async fn open(&self, resume: &Resume<'_>) -> Result<Body, Error> {
        match self {
            Self::Hub { hub, id, commit } => hub.open(id, commit, resume).await,
            Self::Bucket(bucket) => bucket.open(resume).await,
        }
    }
}
