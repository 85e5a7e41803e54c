//! What became of the lines of a batch.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use darkroom_client::{Failure, Job, JobState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Run;
use crate::failure::{Outcome, complain};
use crate::save::replace;
use crate::session::{Form, print_line};
use crate::show::plain;

pub(super) const NAME: &str = "results.jsonl";

/// How a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Succeeded,
    Failed,
    Canceled,
    Expired,
    /// There never was a job.
    Refused,
    /// The job or its results are not there any more.
    Lost,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Succeeded => Outcome::Done,
            Self::Failed => Outcome::Failed,
            Self::Canceled => Outcome::Canceled,
            Self::Expired => Outcome::Expired,
            Self::Refused | Self::Lost => Outcome::Refused,
        }
    }
}

/// What became of a line: a line of the results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Its number in the input, from 1.
    pub(super) line: usize,
    pub(super) job: Option<Uuid>,
    pub(super) state: End,
    /// Names of the pictures in the folder.
    pub(super) files: Vec<PathBuf>,
    /// The caption.
    pub(super) text: Option<String>,
    pub(super) error: Option<Failure>,
}

impl Ended {
    /// A job that is final, with its pictures in these files.
    pub(super) fn job(line: usize, job: &Job, files: Vec<PathBuf>) -> Self {
        let state = match job.state {
            JobState::Canceled => End::Canceled,
            JobState::Expired => End::Expired,
            JobState::Failed => End::Failed,
            JobState::Succeeded | JobState::Queued | JobState::Running => End::Succeeded,
        };
        let text = job.artifacts.iter().find_map(|artifact| artifact.text.clone());
        Self { line, job: Some(job.id), state, files, text, error: job.error.clone() }
    }

    /// A line that became no job.
    pub(super) fn refused(line: usize, error: Failure) -> Self {
        Self { line, job: None, state: End::Refused, files: Vec::new(), text: None, error: Some(error) }
    }

    /// A job of which nothing is to be had any more.
    pub(super) fn lost(line: usize, job: Uuid, message: String) -> Self {
        let error = Failure { code: "lost".to_owned(), message };
        Self { line, job: Some(job), state: End::Lost, files: Vec::new(), text: None, error: Some(error) }
    }
}

impl Run<'_> {
    /// Writes down what became of the lines so far, says what did not go well, and what that means for the call.
    pub(super) fn conclude(&self) -> anyhow::Result<Outcome> {
        let ended = self.ended();
        let lines: Result<Vec<String>, _> = ended.values().map(serde_json::to_string).collect();
        let lines = lines.context("failed to write JSON")?;
        let path = self.folder.join(NAME);
        replace(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())?;
        let mut outcome = Outcome::Done;
        for Ended { line, state, error, .. } in ended.values() {
            if *state != End::Succeeded {
                let why = error.as_ref().map(|error| format!(": {}", plain(&error.message)));
                complain(format_args!("line {line}: {}{}", state.as_str(), why.unwrap_or_default()));
            }
            outcome = outcome.then(state.outcome());
        }
        match self.session.form {
            Form::Json => lines.iter().try_for_each(|line| print_line(line))?,
            Form::Text => {
                complain(format_args!("{} lines: {}", self.input.lines.len(), self.counts().1));
                print_line(&path.display().to_string())?;
            }
        }
        Ok(outcome)
    }

    /// What is known of the lines, by their numbers.
    pub(super) fn ended(&self) -> BTreeMap<usize, Ended> {
        let mut ended = self.with_lost(|lost| lost.clone());
        ended.extend(self.with_journal(|journal| journal.ended.clone()));
        ended
    }
    /// How many lines have ended, and how many of them how.
    pub(super) fn counts(&self) -> (usize, String) {
        let mut counts = self.with_journal(|journal| journal.counts.clone());
        self.with_lost(|lost| {
            lost.values().for_each(|ended| *counts.entry(ended.state).or_default() += 1);
        });
        if counts.is_empty() {
            return (0, "none has ended".to_owned());
        }
        let words: Vec<String> =
            counts.iter().map(|(end, count)| format!("{count} {}", end.as_str())).collect();
        (counts.values().sum(), words.join(", "))
    }
}
