//! What there is to fetch.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Error;

/// A file of a repository or prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RemoteFile {
    /// Its path, relative, with `/` in between.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    /// What its bytes must add up to, where that is known.
    pub(super) digest: Option<Digest>,
    /// The object's entity tag, in a bucket.
    #[serde(default)]
    pub(super) etag: Option<String>,
}

/// What a file's bytes add up to, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Digest {
    /// SHA-256 of the bytes: files that git keeps elsewhere.
    Sha256(String),
    /// SHA-1 of git's blob, which is the bytes after `blob`, their number and a zero byte.
    GitBlob(String),
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hex) => write!(f, "SHA-256 {hex}"),
            Self::GitBlob(hex) => write!(f, "git blob {hex}"),
        }
    }
}

/// Refuses files that would land outside the folder they are meant for.
pub(super) fn check_paths(subject: &str, files: &[RemoteFile]) -> Result<(), Error> {
    let leads_down =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    match files.iter().find(|file| !file.path.split('/').all(leads_down)) {
        Some(file) => Err(Error::layout(subject, format!("it lists a file at {:?}", file.path))),
        None => Ok(()),
    }
}
