//! A bound for what the database takes to answer.

use std::time::Duration;

use tokio::time::timeout;

use crate::Error;

/// No statement runs for longer on a database that answers: time-outs of its own are not much shorter. A
/// database that has gone silent has none, and callers are to hear within five seconds that it has.
const DATABASE_TIMEOUT: Duration = Duration::from_millis(4_500);

/// The answer of a call to the store, or the error that asks the caller to try again. What became of a call
/// that was given up is not known.
pub(crate) async fn bounded<T>(
    call: impl Future<Output = Result<T, darkroom_store::Error>>,
) -> Result<T, Error> {
    match timeout(DATABASE_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(elapsed) => Err(Error::Unavailable(elapsed.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_database_is_given_up() {
        let started = tokio::time::Instant::now();
        let answer = bounded(std::future::pending::<Result<(), _>>()).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))));
        assert_eq!(started.elapsed(), DATABASE_TIMEOUT);
    }
}
