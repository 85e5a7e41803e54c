//! Calls to the store, each within a bound.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// The longest a call may take. Statements end after 5 s and waiting for a connection after 3 s; what takes
/// longer hangs on a connection that nobody answers.
const BOUND: Duration = Duration::from_secs(10);

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store said so.
    #[error(transparent)]
    Store(#[from] darkroom_store::Error),
    /// No answer within [`BOUND`]; the statement may have been committed.
    #[error("the database did not answer within {BOUND:?}")]
    TimedOut,
}

impl Error {
    /// Whether the same call may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::TimedOut => true,
        }
    }
}

/// Waits for `call`, but not for ever.
pub(crate) async fn bounded<T>(
    call: impl Future<Output = Result<T, darkroom_store::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(BOUND, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Error::TimedOut),
    }
}

/// Delays between tries while the database is away: from 100 ms to 3 s, without end, so that work resumes
/// within seconds of its return.
pub(crate) fn delays() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(3))
        .without_max_times()
        .with_jitter()
}

/// The same as an iterator.
pub(crate) fn delay_iter() -> impl Iterator<Item = Duration> + Send {
    delays().build()
}
