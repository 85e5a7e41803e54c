//! What can go wrong, and the one place where the SDK's errors are understood.
//!
//! A caller can do one of four things about an error: answer that the object is not there, correct the
//! request, call an operator, or try again. Whatever is not known to be one of the first three is the last.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object.
    #[error("no object at {key}")]
    NotFound {
        /// The object's key.
        key: String,
    },
    /// The object has no byte in the range asked for.
    #[error("range not satisfiable for {key}")]
    InvalidRange {
        /// The object's key.
        key: String,
    },
    /// The object is not the one that the caller knew.
    #[error("the object at {key} has changed")]
    Changed {
        /// The object's key.
        key: String,
    },
    /// The object is larger than the caller takes.
    #[error("object at {key} is larger than {max_bytes} bytes")]
    TooLarge {
        /// The object's key.
        key: String,
        /// The caller's limit.
        max_bytes: u64,
    },
    /// The store answers but will not serve us: wrong credentials, no permission, no such bucket. Until an
    /// operator does something, trying again is of no use.
    #[error("store refused to {operation} {subject}")]
    Refused {
        /// What was to be done.
        operation: &'static str,
        /// The key, prefix or bucket concerned.
        subject: String,
        /// The store's answer.
        source: Source,
    },
    /// The bucket is not there.
    #[error("there is no bucket {bucket}: `darkroom-api migrate` makes it, or correct S3_BUCKET")]
    NoBucket {
        /// Its name.
        bucket: String,
    },
    /// The store did not answer, answered too late, or has trouble of its own.
    #[error("failed to {operation} {subject}")]
    Unavailable {
        /// What was to be done.
        operation: &'static str,
        /// The key, prefix or bucket concerned.
        subject: String,
        /// What happened.
        source: Source,
    },
}

impl Error {
    /// The same call may succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn unavailable(operation: &'static str, subject: &str, source: impl Into<Source>) -> Self {
        Self::Unavailable { operation, subject: subject.to_owned(), source: source.into() }
    }

    /// Translates an SDK error of `operation` on `subject`.
    pub(crate) fn from_sdk<E>(
        operation: &'static str,
        subject: &str,
        error: SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let code = error.as_service_error().and_then(|error| error.code()).unwrap_or_default();
        let status = error.raw_response().map(|response| response.status().as_u16());
        let key = subject.to_owned();
        let answer = |status| Box::new(Answer { status, code: code.to_owned() });
        match (code, status) {
            // A request for an object that is not there; also of an upload that was aborted.
            ("NoSuchKey" | "NoSuchUpload", _) => Self::NotFound { key },
            // The bucket is missing: nothing a caller of ours could have got right.
            ("NoSuchBucket", _) => Self::Refused { operation, subject: key, source: answer(404) },
            // Answers to HEAD have no body and thus no code of their own.
            ("NotFound", _) | (_, Some(404)) => Self::NotFound { key },
            ("InvalidRange", _) | (_, Some(416)) => Self::InvalidRange { key },
            ("PreconditionFailed", _) | (_, Some(412)) => Self::Changed { key },
            // AccessDenied, InvalidAccessKeyId, SignatureDoesNotMatch, and RequestTimeTooSkewed when this
            // machine's clock is off by more than the store allows.
            (_, Some(status @ (401 | 403))) => {
                Self::Refused { operation, subject: key, source: answer(status) }
            }
            (_, Some(status @ 500..)) => {
                Self::Unavailable { operation, subject: key, source: answer(status) }
            }
            // SlowDown, time-outs, connection errors, answers that make no sense, and all that is unknown.
            _ => Self::Unavailable { operation, subject: key, source: Box::new(error) },
        }
    }
}

/// What the store answered. The SDK's own errors print as the structures they are.
#[derive(Debug, thiserror::Error)]
#[error("it answered {status}{}{code}{}", if .code.is_empty() { "" } else { " " }, advice(*.status))]
struct Answer {
    status: u16,
    /// The store's own word; answers to HEAD have none.
    code: String,
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "; do S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY match, and may they do this?",
        _ => "",
    }
}

/// Why an upload was given up. Nothing of it is left in the store.
#[derive(Debug, thiserror::Error)]
pub enum UploadError<E> {
    /// The stream went on past the limit.
    #[error("upload is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// The stream itself failed.
    #[error("failed to read the upload")]
    Source(#[source] E),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}
