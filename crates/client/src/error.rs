//! What can go wrong, by what a caller can do about it.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use crate::JobState;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service refused the call and said why.
    #[error(transparent)]
    Problem(#[from] Box<Problem>),

    /// The service could not be reached, or the connection broke. URLs are left out: they may be secret.
    #[error("failed to reach the service")]
    Transport(#[source] reqwest::Error),

    /// The service answered something that this client does not understand.
    #[error("unexpected answer with status {status}")]
    Answer {
        /// Status of the answer.
        status: StatusCode,
        /// What is wrong with its body.
        source: Option<serde_json::Error>,
    },

    /// The job was not final in time. It goes on.
    #[error("job {id} is still {state} after {waited:?}")]
    TimedOut {
        /// The job.
        id: Uuid,
        /// Where it stood.
        state: JobState,
        /// How long it was waited for.
        waited: Duration,
    },

    /// A result is not what the job says of it: cut short or changed on the way.
    #[error("result {id} arrived damaged: its {size_bytes} bytes are not those that were stored")]
    Damaged {
        /// The artifact.
        id: Uuid,
        /// How much arrived.
        size_bytes: usize,
    },

    /// The base URL or the key cannot be used.
    #[error("{0}")]
    Settings(String),
}

impl Error {
    /// The service's stable word for what is wrong, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later, with nothing changed by the caller: the service was not reached, or is
    /// not able to answer now.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Transport(_)) || matches!(self.status(), Some(429 | 502..=504))
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Answer { status, .. } => Some(status.as_u16()),
            Self::Transport(_) | Self::TimedOut { .. } | Self::Damaged { .. } | Self::Settings(_) => None,
        }
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.without_url())
    }
}

/// RFC 9457 problem details.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{status} {code}: {detail}{}", fields(.errors))]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable word for what is wrong.
    pub code: String,
    /// Short summary of the kind of problem.
    pub title: String,
    /// What is wrong with this call.
    pub detail: String,
    /// Id to quote when asking for help.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Every field that cannot be used.
    #[serde(default)]
    pub errors: Vec<FieldError>,
}

/// One field that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FieldError {
    /// JSON pointer into the submitted document.
    #[serde(default)]
    pub pointer: Option<String>,
    /// Name of a query parameter.
    #[serde(default)]
    pub parameter: Option<String>,
    /// What is allowed.
    pub detail: String,
    /// Which rule it breaks, a stable word.
    pub code: String,
}

/// Where several fields cannot be used; a single one stands in the detail already.
fn fields(errors: &[FieldError]) -> String {
    let several = if errors.len() > 1 { errors } else { &[] };
    several.iter().fold(String::new(), |text, error| {
        let place = error.pointer.as_ref().or(error.parameter.as_ref());
        format!("{text}; {}: {}", place.map_or("", String::as_str), error.detail)
    })
}
