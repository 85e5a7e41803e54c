//! Pauses between tries, without end.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The longest pause. Recovery after an outage takes at most this and a connect.
const LONGEST: Duration = Duration::from_secs(2);

/// How long something must last to have worked; a failing connect takes less than this.
const A_WHILE: Duration = Duration::from_secs(10);

/// Pauses that grow with each failure in a row, with jitter so that workers do not return in step.
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    pub(crate) fn new() -> Self {
        let builder = ExponentialBuilder::default().with_min_delay(Duration::from_millis(100));
        Self(builder.with_max_delay(LONGEST).with_jitter().without_max_times().build())
    }

    /// Waits, unless `stop` is cancelled first. What had begun at `began` and lasted a while counts as a
    /// success, after which the pauses are short again.
    pub(crate) async fn pause(&mut self, began: Instant, stop: &CancellationToken) {
        if began.elapsed() > A_WHILE {
            *self = Self::new();
        }
        let pause = self.0.next().unwrap_or(LONGEST);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
