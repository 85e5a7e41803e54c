//! What callers are told when a request fails: RFC 9457 problem details.
//!
//! Every failure of the service is an [`Error`], its status and code are decided by one `match`, and its
//! text is written for callers. What went wrong inside is the error's source: it is logged, under the
//! request's id, and never sent.

mod body;

use std::time::Duration;

use axum::http::header::{CONTENT_RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use darkroom_jobs::{FieldError, Invalid, JobState, Pipeline};
use darkroom_ops::with_causes;
use darkroom_pictures::Unusable;
use darkroom_store::Scope;

use crate::Refusal;
use crate::rates::whole_seconds;
pub(crate) use body::{ItemProblem, Shaped, render};
pub use body::{Legacy, Problem, ProblemField};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No key, or one that does not work.
    #[error("send a working API key as `Authorization: Bearer KEY`")]
    Unauthorized,
    /// The key lacks a scope.
    #[error("this key lacks the scope `{}`", .0.as_str())]
    MissingScope(Scope),
    /// The key belongs to no tenant.
    #[error("operator keys own no jobs: use a tenant's key")]
    OperatorKey,
    /// The key belongs to a tenant.
    #[error("tenants' keys open nothing here: use an operator's key")]
    TenantKey,
    /// The tenant has made as many requests as it may.
    #[error("too many requests: this tenant may send the next one after {} s", whole_seconds(*.wait))]
    TooManyRequests {
        /// How long to wait.
        wait: Duration,
    },
    /// Nothing there, or nothing of the caller's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The path is there, the method is not.
    #[error("this path does not answer to that method")]
    MethodNotAllowed,
    /// The body took too long.
    #[error("the body did not arrive in time")]
    SlowBody,
    /// The body, or a part of it, is too large.
    #[error("{what} is larger than {max_bytes} bytes")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// What would do.
        max_bytes: u64,
    },
    /// None of the media types that are read here.
    #[error("send {0}")]
    UnsupportedMediaType(&'static str),
    /// A body that cannot be read at all.
    #[error("{0}")]
    Malformed(String),
    /// A header that cannot be used.
    #[error("{name}: expected {expected}")]
    Header {
        /// Which one.
        name: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
    /// Fields or query parameters that cannot be used.
    #[error("{}", count(.0))]
    Fields(Vec<ProblemField>),
    /// The catalog has no such model.
    #[error("{}", unknown_model(.pipeline, .model, .known))]
    UnknownModel {
        /// The pipeline asked for.
        pipeline: Pipeline,
        /// The name given.
        model: String,
        /// The names that would have done.
        known: Vec<String>,
    },
    /// The file is no picture that can be used.
    #[error(transparent)]
    Image(#[from] Unusable),
    /// The idempotency key stands for another request.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// The idempotency key stands for a job that is deleted.
    #[error("the job of this Idempotency-Key has been deleted")]
    Deleted,
    /// The job cannot be canceled any more.
    #[error("the job is already {0}")]
    AlreadyFinal(JobState),
    /// The job cannot be deleted yet.
    #[error("the job is {0}: cancel it first")]
    NotFinal(JobState),
    /// The tenant has as many webhooks as it may.
    #[error("there are {} webhooks already: delete one first", darkroom_store::Store::MAX_WEBHOOKS)]
    TooManyWebhooks,
    /// The tenant has as many files as it may.
    #[error("there are {} files already: delete one first", darkroom_store::Store::MAX_FILES)]
    TooManyFiles,
    /// Nothing is sent to this webhook.
    #[error("the webhook is disabled: enable it first")]
    WebhookDisabled,
    /// The name is taken.
    #[error("there is a {what} `{name}` already")]
    NameTaken {
        /// What was to be made.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Nothing can take over from a key that does not work any more.
    #[error("the key was revoked or has expired: make a new one")]
    KeyStopped,
    /// Another number of jobs matches than the operator was told.
    #[error("{matching} jobs match, not as many as expected: nothing was changed")]
    CountChanged {
        /// How many match.
        matching: u64,
    },
    /// Something was decided about the failed job before.
    #[error("the job is {0} already")]
    Decided(&'static str),
    /// The job's deadline has passed.
    #[error("the job's deadline has passed: nobody waits for it any more")]
    TooLate,
    /// No byte of the result is in the range asked for.
    #[error("the result has {size_bytes} bytes")]
    RangeNotSatisfiable {
        /// Size of the result.
        size_bytes: u64,
    },
    /// A limit of the caller, or of the whole.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// As many requests of the tenant are held as may be.
    #[error("{} requests of this tenant are held already: end one of them first", crate::jobs::MOST_HELD)]
    TooManyHeld,
    /// As many uploads run as the service takes at once.
    #[error("too many uploads at once: try again soon")]
    Busy,
    /// Something the service needs does not answer.
    #[error("the service cannot do this at the moment: try again soon")]
    Unavailable(#[source] Source),
    /// A mistake of the service.
    #[error("something went wrong inside the service")]
    Internal(#[source] Source),
}

/// What callers should wait before they repeat a request that failed for now.
const RETRY_SOON: Duration = Duration::from_secs(2);

impl Error {
    /// An error with a text as its source.
    pub(crate) fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }

    /// Status, stable code and title: the one place where they are decided.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "No working API key"),
            Self::MissingScope(_) => (S::FORBIDDEN, "missing_scope", "Not allowed with this key"),
            Self::OperatorKey => (S::FORBIDDEN, "operator_key", "Not allowed with this key"),
            Self::TenantKey => (S::FORBIDDEN, "tenant_key", "Not allowed with this key"),
            Self::TooManyRequests { .. } => (S::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests"),
            Self::NotFound(_) => (S::NOT_FOUND, "not_found", "Not found"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed"),
            Self::SlowBody => (S::REQUEST_TIMEOUT, "slow_body", "Body too slow"),
            Self::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "too_large", "Too large"),
            Self::UnsupportedMediaType(_) => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type")
            }
            Self::Malformed(_) => (S::BAD_REQUEST, "malformed_body", "Unreadable body"),
            Self::Header { .. } => (S::BAD_REQUEST, "invalid_header", "Unusable header"),
            Self::Fields(_) => (S::UNPROCESSABLE_ENTITY, "invalid_request", "Invalid fields"),
            Self::UnknownModel { .. } => (S::BAD_REQUEST, "unknown_model", "Unknown model"),
            Self::Image(image) => (S::BAD_REQUEST, image.code(), "Unusable image"),
            Self::KeyReused => {
                (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "Idempotency key used before")
            }
            Self::Deleted => (S::GONE, "job_deleted", "Job deleted"),
            Self::AlreadyFinal(_) => (S::CONFLICT, "job_already_final", "Job is final already"),
            Self::NotFinal(_) => (S::CONFLICT, "job_not_final", "Job is not final yet"),
            Self::TooManyWebhooks => (S::CONFLICT, "too_many_webhooks", "Too many webhooks"),
            Self::TooManyFiles => (S::CONFLICT, "too_many_files", "Too many files"),
            Self::WebhookDisabled => (S::CONFLICT, "webhook_disabled", "Webhook disabled"),
            Self::NameTaken { .. } => (S::CONFLICT, "name_taken", "Name taken"),
            Self::KeyStopped => (S::CONFLICT, "key_stopped", "Key does not work"),
            Self::CountChanged { .. } => (S::CONFLICT, "count_changed", "Count changed"),
            Self::Decided(_) => (S::CONFLICT, "already_decided", "Decided before"),
            Self::TooLate => (S::CONFLICT, "deadline_passed", "Deadline passed"),
            Self::RangeNotSatisfiable { .. } => {
                (S::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", "Range not satisfiable")
            }
            Self::Refused(refusal @ Refusal::Overloaded { .. }) => {
                (S::SERVICE_UNAVAILABLE, refusal.code(), "Overloaded")
            }
            Self::Refused(refusal) => (S::TOO_MANY_REQUESTS, refusal.code(), "Over a limit"),
            Self::TooManyHeld => (S::TOO_MANY_REQUESTS, "too_many_held", "Too many requests are held"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "Too busy"),
            Self::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "unavailable", "Unavailable for now"),
            Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::TooManyHeld | Self::Busy | Self::Unavailable(_) => {
                Some((RETRY_AFTER, RETRY_SOON.as_secs().into()))
            }
            Self::Refused(refusal) => Some((RETRY_AFTER, refusal.retry_after().as_secs().max(1).into())),
            Self::TooManyRequests { wait } => Some((RETRY_AFTER, whole_seconds(*wait).max(1).into())),
            Self::RangeNotSatisfiable { size_bytes } => {
                HeaderValue::try_from(format!("bytes */{size_bytes}"))
                    .ok()
                    .map(|value| (CONTENT_RANGE, value))
            }
            _ => None,
        }
    }

    fn log(&self) {
        let source = |source: &Source| with_causes(source.as_ref());
        match self {
            Self::Internal(error) => tracing::error!(error = source(error), "failed inside"),
            Self::Unavailable(error) => tracing::warn!(error = source(error), "unavailable"),
            _ => {}
        }
    }
}

impl IntoResponse for Error {
    /// The body is written by `render`, which knows the request.
    fn into_response(self) -> Response {
        self.log();
        let problem = Problem::new(&self);
        let mut response = self.kind().0.into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(problem);
        response
    }
}

impl From<darkroom_store::Error> for Error {
    fn from(error: darkroom_store::Error) -> Self {
        use darkroom_store::Error as Store;
        match error {
            Store::Exists { what, name } => Self::NameTaken { what, name },
            Store::Missing { what, .. } => Self::NotFound(what),
            error if error.is_transient() => Self::Unavailable(error.into()),
            error => Self::Internal(error.into()),
        }
    }
}

impl From<darkroom_blobs::Error> for Error {
    fn from(error: darkroom_blobs::Error) -> Self {
        use darkroom_blobs::Error as Blob;
        match error {
            Blob::NotFound { .. } => Self::NotFound("result"),
            // A refusal passes once an operator has corrected the settings: nothing the caller could change.
            Blob::Unavailable { .. } | Blob::Refused { .. } | Blob::NoBucket { .. } => {
                Self::Unavailable(error.into())
            }
            Blob::InvalidRange { .. } | Blob::TooLarge { .. } | Blob::Changed { .. } => {
                Self::Internal(error.into())
            }
        }
    }
}

impl From<Vec<FieldError>> for Error {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Fields(errors.into_iter().map(ProblemField::from).collect())
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Fields(fields) => Self::Fields(fields.into_iter().map(ProblemField::from).collect()),
            Invalid::UnknownModel { pipeline, model, known } => Self::UnknownModel { pipeline, model, known },
        }
    }
}

impl From<FieldError> for ProblemField {
    fn from(field: FieldError) -> Self {
        Self { pointer: Some(field.pointer), parameter: None, detail: field.detail, code: field.code.into() }
    }
}

fn count(fields: &[ProblemField]) -> String {
    match fields {
        [field] => format!("{}: {}", field.place(), field.detail),
        fields => format!("{} fields cannot be used: see `errors`", fields.len()),
    }
}

fn unknown_model(pipeline: &Pipeline, model: &str, known: &[String]) -> String {
    if known.is_empty() {
        return format!("no {pipeline} model is served here");
    }
    format!("there is no {pipeline} model `{model}`: expected one of {}", known.join(", "))
}
