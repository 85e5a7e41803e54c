//! Why files could not be had.
//!
//! Whoever runs the worker reads the message, which names repository, revision, file and setting; callers of
//! the API read [`Error::reason`], which names none of these.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a model's or LoRA's files are not at hand.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub does not let us in: 401 or 403.
    #[error("the hub refuses {subject} ({status}){}", advice(*.gated, *.token_sent))]
    Refused {
        /// Repository, revision and file.
        subject: String,
        /// What it answered.
        status: u16,
        /// Whether it says that access must be asked for.
        gated: bool,
        /// Whether a token was sent.
        token_sent: bool,
    },
    /// There is no such repository, revision, file or prefix.
    #[error("there is no {subject}")]
    NotFound {
        /// What was asked for, with its repository and revision, or its bucket.
        subject: String,
    },
    /// The hub has too much to do or trouble of its own: 408, 429 or 5xx.
    #[error("the hub has no answer for {subject} at this moment ({status})")]
    Busy {
        /// Repository, revision and file.
        subject: String,
        /// What it answered.
        status: u16,
        /// When it asks to be asked again.
        retry_after: Option<Duration>,
    },
    /// The hub answered what no hub answers.
    #[error("the hub's answer for {subject} makes no sense: {problem}")]
    Answer {
        /// Repository, revision and file.
        subject: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No connection, or none that lasted.
    #[error("failed to fetch {subject}")]
    Connection {
        /// Repository, revision and file, or bucket and key.
        subject: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file is not as long as announced.
    #[error("{file} has the wrong size: expected {expected} bytes, found {found}")]
    WrongSize {
        /// The file, with its repository.
        file: String,
        /// What was announced.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A file is not what was announced, twice.
    #[error("{file} arrived damaged twice: expected {expected}, found {found}")]
    WrongHash {
        /// The file, with its repository.
        file: String,
        /// What was announced.
        expected: String,
        /// What came.
        found: String,
    },
    /// The repository or prefix holds no model that can be loaded.
    #[error("{subject} cannot be used: {problem}")]
    Layout {
        /// Repository and revision, or bucket and prefix.
        subject: String,
        /// What is missing.
        problem: String,
    },
    /// The cache has no space left.
    #[error("no space left for {}, which needs {needed_bytes} more bytes", path.display())]
    DiskFull {
        /// The file that was written.
        path: PathBuf,
        /// What it still lacked.
        needed_bytes: u64,
    },
    /// The cache cannot be read or written.
    #[error("failed to {operation} {}", path.display())]
    Cache {
        /// What was to be done.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store of objects did not do its part.
    #[error(transparent)]
    Blobs(#[from] darkroom_blobs::Error),
}

impl Error {
    /// The reason for callers, who know neither repositories nor machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "access to its files is refused",
            Self::NotFound { .. } => "its files do not exist",
            Self::Busy { .. } | Self::Connection { .. } | Self::Blobs(_) => "its files cannot be reached",
            Self::Answer { .. } | Self::Layout { .. } => "its files cannot be used",
            Self::WrongSize { .. } | Self::WrongHash { .. } => "its files arrive damaged",
            Self::DiskFull { .. } => "there is no space for its files",
            Self::Cache { .. } => "its files cannot be stored",
        }
    }

    /// Whether the same request may be answered in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Connection { .. } => true,
            Self::Blobs(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// How long the hub asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn connection(
        subject: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Connection { subject: subject.into(), source: source.into() }
    }

    pub(super) fn layout(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Layout { subject: subject.into(), problem: problem.into() }
    }

    /// For `map_err` of file operations.
    pub(super) fn cache(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Cache { operation, path: path.to_owned(), source }
    }
}

fn advice(gated: bool, token_sent: bool) -> &'static str {
    match (gated, token_sent) {
        (true, true) => ": it is gated, ask for access on its page with the account of HF_TOKEN",
        (true, false) => ": it is gated, set HF_TOKEN to a token of an account that has access",
        (false, true) => ": it does not exist, or HF_TOKEN may not read it",
        (false, false) => ": it does not exist, or is private and needs HF_TOKEN",
    }
}
