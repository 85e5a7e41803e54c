//! Failures of attempts, and what happens to the job. This is the only place that decides about retries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::state::UnknownWord;

/// What kind of failure ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The caller's input cannot be used: another attempt would end the same way.
    InvalidInput,
    /// The model or an option of it is not served.
    Unsupported,
    /// The device had too little memory. By preference retried on another worker.
    OutOfMemory,
    /// Something around the model: blob store, database, weights.
    Infrastructure,
    /// Over the attempt's time limit, or no step for too long.
    Timeout,
    /// The lease expired: the worker died, hung or was cut off.
    Lost,
    /// Too many attempts failed, or too many workers died on the job.
    Poison,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::InvalidInput,
        Self::Unsupported,
        Self::OutOfMemory,
        Self::Infrastructure,
        Self::Timeout,
        Self::Lost,
        Self::Poison,
    ];

    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::Unsupported => "unsupported",
            Self::OutOfMemory => "out_of_memory",
            Self::Infrastructure => "infrastructure",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Poison => "poison",
        }
    }

    /// Whether it is the request that cannot be done, and its caller who can change that.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::InvalidInput | Self::Unsupported)
    }
}

impl std::str::FromStr for FailureClass {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|class| class.as_str() == word).ok_or_else(|| UnknownWord {
            what: "failure class",
            word: word.to_owned(),
            allowed: "invalid_input, unsupported, out_of_memory, infrastructure, timeout, lost, poison",
        })
    }
}

/// Why an attempt failed, in words for the caller: no paths, hosts or other internals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind, which decides about retries.
    pub class: FailureClass,
    /// What failed, for the caller.
    pub message: String,
}

impl Failure {
    /// A failure of `class`.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

/// How often a job is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Failed and lost attempts after which the job fails for good; at least 1.
    pub max_attempts: u16,
}

/// What becomes of a job after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Back to the queue, leasable after this delay.
    After(Duration),
    /// Failed with the attempt's own failure.
    Never,
    /// Failed as [`FailureClass::Poison`]: it would have been retried, but no attempt is left.
    Exhausted,
}

impl RetryPolicy {
    /// Attempts of a job unless the catalog says otherwise.
    pub const DEFAULT_MAX_ATTEMPTS: u16 = 4;
    /// Workers that may die on a job before it is taken for the cause.
    pub const MAX_WORKER_DEATHS: u16 = 2;
    /// Delay before the first retry; doubled for each further one.
    const BASE: Duration = Duration::from_secs(1);
    /// Longest delay.
    const CAP: Duration = Duration::from_secs(60);

    /// Decides after the `failures`-th failed attempt (counting this one, so at least 1). `jitter` is
    /// uniform in [0, 1) and drawn by the caller; the delay lies between half and all of the exponential
    /// backoff.
    pub fn decide(self, failure: &Failure, failures: u16, jitter: f64) -> Retry {
        match failure.class {
            FailureClass::InvalidInput | FailureClass::Unsupported | FailureClass::Poison => Retry::Never,
            _ if failures >= self.max_attempts => Retry::Exhausted,
            FailureClass::OutOfMemory
            | FailureClass::Infrastructure
            | FailureClass::Timeout
            | FailureClass::Lost => Retry::After(Self::backoff(failures, jitter)),
        }
    }

    fn backoff(failures: u16, jitter: f64) -> Duration {
        let doublings = u32::from(failures.saturating_sub(1)).min(16);
        let full = Self::BASE.saturating_mul(1 << doublings).min(Self::CAP);
        full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy { max_attempts: 4 };

    fn decide(class: FailureClass, failures: u16) -> Retry {
        POLICY.decide(&Failure::new(class, "x"), failures, 1.0)
    }

    #[test]
    fn the_callers_mistakes_are_not_repeated() {
        assert_eq!(decide(FailureClass::InvalidInput, 1), Retry::Never);
        assert_eq!(decide(FailureClass::Unsupported, 1), Retry::Never);
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let delay = |failures| RetryPolicy::backoff(failures, 1.0).as_secs();
        assert_eq!([1, 2, 3, 7, 300].map(delay), [1, 2, 4, 60, 60]);
        assert_eq!(RetryPolicy::backoff(1, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        assert!(matches!(decide(FailureClass::Infrastructure, 3), Retry::After(_)));
        assert_eq!(decide(FailureClass::Infrastructure, 4), Retry::Exhausted);
        assert_eq!(decide(FailureClass::Lost, 400), Retry::Exhausted);
    }

    #[test]
    fn classes_read_back() {
        for class in FailureClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }
}
