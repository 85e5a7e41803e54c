//! The reaper: leases that expired are taken back, jobs whose deadline has passed are expired.

use std::time::Duration;

use darkroom_store::{Error, Store};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rhythm::Rhythm;

/// The longest pause between two rounds; with short leases it is a quarter of one.
const PERIOD: Duration = Duration::from_secs(1);
const BATCH: i64 = 200;
/// Batches of expired jobs in one round, so that reaping has its turn.
const MOST_BATCHES: usize = 20;

pub(crate) async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut rhythm = Rhythm::new("reaper", PERIOD.min(store.lease_length() / 4));
    let mut jitter = StdRng::from_os_rng();
    let mut gap = Gap::new(store.lease_length());
    loop {
        let mut outcome = expire(&store).await;
        if outcome.is_ok() && gap.is_over(Instant::now()) {
            outcome = reap(&store, &mut jitter).await;
        }
        if outcome.as_ref().is_err_and(Error::is_outage) {
            gap.noticed(Instant::now());
        }
        rhythm.note(outcome);
        if !rhythm.wait(&stop).await {
            return Ok(());
        }
    }
}

async fn expire(store: &Store) -> Result<(), Error> {
    for _ in 0..MOST_BATCHES {
        let expired = store.expire(BATCH).await?.len();
        metrics::counter!("darkroom_jobs_expired_total").increment(expired as u64);
        if i64::try_from(expired) != Ok(BATCH) {
            break;
        }
    }
    Ok(())
}

async fn reap(store: &Store, jitter: &mut StdRng) -> Result<(), Error> {
    for reaped in store.reap(BATCH, jitter.random()).await? {
        metrics::counter!("darkroom_attempts_lost_total").increment(1);
        tracing::warn!(
            job = %reaped.lease.job,
            attempt = reaped.lease.attempt,
            worker = %reaped.worker,
            worker_died = reaped.worker_died,
            requeued = reaped.requeued,
            "took back an expired lease"
        );
    }
    Ok(())
}

/// While this process could not reach the database, workers may not have reached it either. They get a full
/// lease to send heartbeats before anything is taken from them.
struct Gap {
    lease: Duration,
    last_noticed: Option<Instant>,
}

impl Gap {
    fn new(lease: Duration) -> Self {
        Self { lease, last_noticed: None }
    }

    fn noticed(&mut self, now: Instant) {
        self.last_noticed = Some(now);
    }

    fn is_over(&self, now: Instant) -> bool {
        self.last_noticed.is_none_or(|noticed| now.duration_since(noticed) >= self.lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lasts_one_lease_beyond_its_last_sign() {
        let start = Instant::now();
        let mut gap = Gap::new(Duration::from_secs(30));
        assert!(gap.is_over(start));
        gap.noticed(start);
        assert!(!gap.is_over(start + Duration::from_secs(29)));
        gap.noticed(start + Duration::from_secs(20));
        assert!(!gap.is_over(start + Duration::from_secs(49)));
        assert!(gap.is_over(start + Duration::from_secs(50)));
    }
}
