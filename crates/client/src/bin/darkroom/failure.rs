//! How a call ended: exit codes, and what is said about an error.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use darkroom_client::{Error, JobState};

use crate::session::NoKey;

/// How a call of the program ended. The numbers are promised in `docs/cli.md`; 2, which is missing here, is a
/// command line that was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that was asked for was done.
    Done = 0,
    /// Something on this machine went wrong, such as a file that cannot be written.
    Broken = 1,
    /// The service refused the request: a value it does not take, an id it does not know.
    Refused = 3,
    /// No key, one that does not work, or one that may not do this.
    Forbidden = 4,
    /// The service cannot be reached, is overloaded, or answered something that makes no sense.
    Unreachable = 5,
    /// A job failed.
    Failed = 6,
    /// A job was canceled.
    Canceled = 7,
    /// A job expired.
    Expired = 8,
    /// Interrupted with Ctrl-C.
    Interrupted = 130,
}

impl Outcome {
    /// What the end of a job means for the call that waited for it.
    pub(crate) fn of_state(state: JobState) -> Self {
        match state {
            JobState::Queued | JobState::Running | JobState::Succeeded => Self::Done,
            JobState::Failed => Self::Failed,
            JobState::Canceled => Self::Canceled,
            JobState::Expired => Self::Expired,
        }
    }

    /// What an error means for the call.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        if error.is::<NoKey>() {
            return Self::Forbidden;
        }
        error.chain().find_map(|cause| cause.downcast_ref::<Error>()).map_or(Self::Broken, of_client_error)
    }

    /// The first that is not [`Self::Done`] counts.
    pub(crate) fn then(self, next: Self) -> Self {
        if self == Self::Done { next } else { self }
    }

    /// The process's exit code.
    pub(crate) fn exit(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

fn of_client_error(error: &Error) -> Outcome {
    match error {
        Error::Settings(_) | Error::Damaged { .. } => Outcome::Broken,
        Error::Transport(_) | Error::TimedOut { .. } => Outcome::Unreachable,
        Error::Problem(_) | Error::Answer { .. } => match error.status() {
            Some(401 | 403) => Outcome::Forbidden,
            Some(400..=499) if error.code().is_some() && error.status() != Some(429) => Outcome::Refused,
            _ => Outcome::Unreachable,
        },
    }
}

/// Says what ended the call. A reader of the output that has seen enough is no error.
pub(crate) fn report(error: &anyhow::Error) -> Outcome {
    if is_broken_pipe(error) {
        return Outcome::Done;
    }
    complain(explain(error));
    Outcome::of_error(error)
}

/// The error with its causes, and what to do about it where that is known.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let mut text = format!("{error:#}");
    if let Some(advice) = error.chain().find_map(|cause| cause.downcast_ref::<Error>()).and_then(advice) {
        let _ = write!(text, "\n{advice}");
    }
    text
}

fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::Transport(error) if error.is_connect() => {
            Some("is the service running there? `--url` or DARKROOM_URL says where it answers")
        }
        Error::Answer { .. } => {
            Some("is that a Darkroom service? `--url` or DARKROOM_URL says where it answers")
        }
        Error::Problem(problem) => match problem.status {
            401 => Some(
                "DARKROOM_API_KEY must be a key of this service that was not revoked; operators make one with \
                 `darkroom-api api-keys create`",
            ),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a reader of the output has gone away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes =
        error.chain().filter_map(|cause: &(dyn StdError + 'static)| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// One remark on stderr. When that is gone there is nobody to tell.
pub(crate) fn complain(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "darkroom: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_went_wrong_counts() {
        assert_eq!(Outcome::Done.then(Outcome::Failed).then(Outcome::Canceled), Outcome::Failed);
        assert_eq!(Outcome::Done.then(Outcome::Done), Outcome::Done);
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        let error =
            anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("failed to print");
        assert_eq!(report(&error), Outcome::Done);
    }

    #[test]
    fn jobs_end_in_codes_of_their_own() {
        let states = [JobState::Succeeded, JobState::Failed, JobState::Canceled, JobState::Expired];
        let codes = states.map(|state| Outcome::of_state(state) as u8);
        assert_eq!(codes, [0, 6, 7, 8]);
    }
}
