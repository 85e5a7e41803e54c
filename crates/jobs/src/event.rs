//! What webhooks tell, and when a delivery that failed is tried again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{JobState, UnknownWord};

/// What a webhook tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A worker runs a job, for the first time.
    JobStarted,
    /// A job has another result.
    JobOutput,
    /// A job is further than before.
    JobProgress,
    /// A job has every result.
    JobSucceeded,
    /// A job failed for good.
    JobFailed,
    /// Its owner took a job back.
    JobCanceled,
    /// A job's deadline passed.
    JobExpired,
    /// The endpoint's owner wants to see a message arrive.
    Test,
}

impl Event {
    /// The ends of jobs.
    pub const FINAL: [Self; 4] = [Self::JobSucceeded, Self::JobFailed, Self::JobCanceled, Self::JobExpired];
    /// What happens to jobs before their end. Only a webhook that a job names itself is told.
    pub const EARLY: [Self; 3] = [Self::JobStarted, Self::JobOutput, Self::JobProgress];
    /// What the webhook in a document can ask for.
    pub const OF_ONE_JOB: [Self; 5] =
        [Self::JobStarted, Self::JobSucceeded, Self::JobFailed, Self::JobCanceled, Self::JobExpired];

    /// The word in messages, the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobStarted => "job.started",
            Self::JobOutput => "job.output",
            Self::JobProgress => "job.progress",
            Self::JobSucceeded => "job.succeeded",
            Self::JobFailed => "job.failed",
            Self::JobCanceled => "job.canceled",
            Self::JobExpired => "job.expired",
            Self::Test => "webhook.test",
        }
    }

    /// The final state of the job that this tells of.
    pub fn job_state(self) -> Option<JobState> {
        match self {
            Self::JobSucceeded => Some(JobState::Succeeded),
            Self::JobFailed => Some(JobState::Failed),
            Self::JobCanceled => Some(JobState::Canceled),
            Self::JobExpired => Some(JobState::Expired),
            Self::JobStarted | Self::JobOutput | Self::JobProgress | Self::Test => None,
        }
    }

    /// Whether it happens to a job before its end.
    pub fn is_early(self) -> bool {
        Self::EARLY.contains(&self)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Event {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = Self::EARLY.into_iter().chain(Self::FINAL).chain([Self::Test]);
        all.into_iter().find(|event| event.as_str() == word).ok_or_else(|| UnknownWord {
            what: "event",
            word: word.to_owned(),
            allowed: "job.started, job.output, job.progress, job.succeeded, job.failed, job.canceled, job.expired",
        })
    }
}

/// Seconds from each failed attempt at a delivery to the next, as Standard Webhooks recommends: about three days in
/// all.
const REDELIVERY_S: [u64; 9] =
    [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600];
/// The most that chance adds to a pause, as a part of it.
const JITTER: f64 = 0.2;

/// How long to wait after this many failed attempts at a delivery; `None` when it is to be given up. `jitter` is
/// uniform in [0, 1) and keeps deliveries that failed together from being tried together.
pub fn redelivery(failures: u32, jitter: f64) -> Option<Duration> {
    let place = usize::try_from(failures).ok()?.checked_sub(1)?;
    let pause = Duration::from_secs(*REDELIVERY_S.get(place)?);
    Some(pause.mul_f64(1.0 + JITTER * jitter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_and_name_final_states() {
        for event in Event::EARLY {
            assert_eq!((event.as_str().parse(), event.job_state()), (Ok(event), None));
        }
        for event in Event::FINAL {
            assert!(!event.is_early());
            assert_eq!(event.as_str().parse(), Ok(event));
            let state = event.job_state().unwrap();
            assert!(state.is_final());
            assert_eq!(event.as_str(), format!("job.{state}"));
        }
        assert_eq!(Event::Test.as_str().parse(), Ok(Event::Test));
        assert!("job.queued".parse::<Event>().is_err());
    }

    #[test]
    fn a_delivery_is_tried_ten_times_in_the_published_rhythm() {
        let pauses: Vec<u64> =
            (1..).map_while(|failures| redelivery(failures, 0.0)).map(|p| p.as_secs()).collect();
        assert_eq!(pauses, [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert_eq!(redelivery(10, 0.0), None);
    }

    #[test]
    fn chance_adds_a_fifth_at_most() {
        assert_eq!(redelivery(2, 0.5), Some(Duration::from_secs(330)));
        assert!(redelivery(2, 0.999).unwrap() < Duration::from_secs(360));
    }
}
