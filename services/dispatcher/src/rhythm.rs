//! A pause between two rounds that grows while rounds fail.

use std::fmt::Display;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The longest pause after failures.
const LONGEST: Duration = Duration::from_secs(10);

/// Paces a loop: one pause per round, doubled for every failure in a row.
pub(crate) struct Rhythm {
    what: &'static str,
    period: Duration,
    failures: u32,
}

impl Rhythm {
    pub(crate) fn new(what: &'static str, period: Duration) -> Self {
        Self { what, period, failures: 0 }
    }

    /// Notes how a round went, and logs a failure once where it begins and once where it ends.
    pub(crate) fn note<T, E: Display>(&mut self, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if self.failures > 0 {
                    tracing::info!(failures = self.failures, "{} works again", self.what);
                }
                self.failures = 0;
                Some(value)
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(%error, "{} failed, trying again", self.what);
                }
                metrics::counter!("darkroom_dispatcher_failures_total", "loop" => self.what).increment(1);
                self.failures = self.failures.saturating_add(1);
                None
            }
        }
    }

    /// How long to wait before the next round.
    pub(crate) fn pause(&self) -> Duration {
        let longest = LONGEST.max(self.period);
        self.period.saturating_mul(1 << self.failures.min(10)).min(longest)
    }

    /// Waits for the next round. `false` when the loop has to end.
    pub(crate) async fn wait(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(self.pause()) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_rounds_fail_and_fall_back_after() {
        let mut rhythm = Rhythm::new("test", Duration::from_secs(1));
        let mut pauses = Vec::new();
        for _ in 0..5 {
            rhythm.note::<(), _>(Err("down"));
            pauses.push(rhythm.pause().as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 10, 10]);
        rhythm.note::<_, &str>(Ok(()));
        assert_eq!(rhythm.pause().as_secs(), 1);
    }
}
