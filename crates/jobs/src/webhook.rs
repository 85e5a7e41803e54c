//! The webhook that a job names itself.

use std::fmt;
use std::str::FromStr;

use crate::{Event, UnknownWord};

/// Where it is told what becomes of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobWebhook {
    /// Where messages are posted to.
    pub url: String,
    /// What they look like.
    pub form: WebhookForm,
    /// What is told, in order and each once.
    pub events: Vec<Event>,
}

impl JobWebhook {
    /// Whether more than the job's end is told.
    pub fn is_told_early(&self) -> bool {
        self.events.iter().any(|event| event.is_early())
    }
}

/// What a webhook's messages look like: as the clients of one API or another expect them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookForm {
    /// The service's own.
    Native,
    /// A prediction of Replicate.
    Replicate,
    /// A result of fal's queue.
    Fal,
}

impl WebhookForm {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Replicate => "replicate",
            Self::Fal => "fal",
        }
    }
}

impl fmt::Display for WebhookForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WebhookForm {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Native, Self::Replicate, Self::Fal].into_iter().find(|form| form.as_str() == word).ok_or_else(
            || UnknownWord { what: "form", word: word.to_owned(), allowed: "native, replicate, fal" },
        )
    }
}
