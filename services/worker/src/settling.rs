//! Telling the database how an attempt ended.

use std::time::Duration;

use backon::Retryable;
use darkroom_jobs::{Retry, RetryPolicy};
use darkroom_store::{LeasedJob, NewArtifact, Outcome, Settled};

use crate::database::{self, bounded};
use crate::failure::Verdict;
use crate::worker::Worker;

/// How long to try while the database is away: a lease, the reaper's patience after a gap, and some. What is
/// not settled then is the reaper's, which writes a new ticket.
const BOUND: Duration = Duration::from_secs(120);
/// The same once the worker has to give back what it holds.
const LAST_BOUND: Duration = Duration::from_secs(5);

impl Worker {
    /// Settles an attempt, with retries while the database is away; a success with the result that is still to be
    /// recorded. `None` when the database stayed away.
    pub(crate) async fn settle(
        &self,
        leased: &LeasedJob,
        outcome: &Outcome,
        last: Option<&NewArtifact>,
    ) -> Option<Settled> {
        let (lease, artifacts) = (&leased.lease, leased.task.artifacts());
        let settle = || async move {
            match (outcome, last) {
                (Outcome::Succeeded { timings }, Some(last)) => {
                    bounded(self.store.finish(lease, last, timings, artifacts)).await
                }
                _ => bounded(self.store.settle(lease, outcome, artifacts)).await,
            }
        };
        let settle = settle.retry(database::delays()).when(database::Error::is_transient);
        let too_late = async {
            tokio::select! {
                () = tokio::time::sleep(BOUND) => {}
                () = async {
                    self.giving_back.cancelled().await;
                    tokio::time::sleep(LAST_BOUND).await;
                } => {}
            }
        };
        tokio::select! {
            settled = settle => settled.map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "failed to settle");
            }).ok(),
            () = too_late => {
                tracing::error!("gave up settling: the database is away");
                None
            }
        }
    }

    /// The outcome of a failed attempt.
    pub(crate) fn failed(&self, leased: &LeasedJob, verdict: Verdict) -> Outcome {
        let policy = RetryPolicy { max_attempts: leased.max_attempts };
        let failures = leased.failures.saturating_add(1);
        let retry = policy.decide(&verdict.failure, failures, self.chance.jitter());
        let avoid = (verdict.elsewhere && matches!(retry, Retry::After(_))).then_some(self.id);
        Outcome::Failed { failure: verdict.failure, retry, avoid }
    }
}
