//! Heartbeats: one loop speaks for all leases of this process, apart from inference.

use std::time::Duration;

use darkroom_jobs::JobId;
use darkroom_store::{Beat, Change, NewWorker, Pulse, Wish};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::database::{self, bounded};
use crate::measure;
use crate::running::{Stop, Watched};
use crate::worker::Worker;

/// Heartbeats in the time of a lease: one every 2 s as leases come.
const BEATS: u32 = 15;
/// The longest pause before listening again.
const PATIENCE: Duration = Duration::from_secs(2);

impl Worker {
    /// Extends every lease [`BEATS`] times in its length, and at once when `news` says that something happened to a job. Goes on
    /// while the database is away: fencing protects what the leases no longer do.
    pub(crate) async fn beat(&self, me: &NewWorker, news: &Notify, stop: &CancellationToken) {
        let mut ticks = interval(self.store.lease_length() / BEATS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    // At the same time: a slow answer to one must not delay the other.
                    tokio::join!(self.extend(), self.show_up(me));
                }
                () = news.notified() => self.extend().await,
                () = stop.cancelled() => return,
            }
        }
    }

    async fn extend(&self) {
        let attempts = self.running.all();
        if attempts.is_empty() {
            return;
        }
        let beats: Vec<Beat> = attempts
            .iter()
            .map(|attempt| Beat { lease: attempt.lease(), progress: attempt.progress() })
            .collect();
        let pulses = match bounded(self.store.heartbeat(&beats)).await {
            Ok(pulses) => pulses,
            Err(error) => {
                measure::heartbeat_failed();
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    leases = beats.len(),
                    "failed to extend leases"
                );
                return;
            }
        };
        for attempt in attempts {
            match pulses.iter().find(|(lease, _)| *lease == attempt.lease()) {
                Some((_, Pulse::Ended)) => attempt.stop(Stop::Ended),
                Some((_, Pulse::Lost)) => attempt.stop(Stop::Lost),
                Some((_, Pulse::Held)) | None => {}
            }
        }
        self.look_for_watchers().await;
    }

    /// Finds out which attempts somebody looks on at. While that is not known, nothing changes.
    async fn look_for_watchers(&self) {
        let attempts = self.running.all();
        let jobs: Vec<JobId> = attempts.iter().map(|attempt| attempt.lease().job).collect();
        match bounded(self.store.watched_jobs(&jobs)).await {
            Ok(watched) => {
                for attempt in attempts {
                    let job = attempt.lease().job;
                    attempt.watch(if watched.contains(&job) { Watched::Yes } else { Watched::No });
                }
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "failed to see who looks on");
            }
        }
    }

    /// Tells what is loaded, and hears whether an operator wants this worker to end.
    async fn show_up(&self, me: &NewWorker) {
        let (loaded, models) = (self.device.loaded(), self.library.report());
        match bounded(self.store.worker_seen(me, &loaded, &models)).await {
            Ok(Wish::GoOn) => {}
            Ok(Wish::Drain) if self.shutdown.soft.is_cancelled() => {}
            Ok(Wish::Drain) => {
                tracing::info!("asked by an operator to drain");
                self.shutdown.soft.cancel();
            }
            Err(error) => {
                measure::heartbeat_failed();
                tracing::debug!(error = &error as &dyn std::error::Error, "failed to report as a worker");
            }
        }
    }

    /// Listens for what others do to the jobs that run here, so that a cancellation is heard in milliseconds.
    pub(crate) async fn listen(&self, news: &Notify, stop: &CancellationToken) {
        let hear = async {
            let mut delays = database::delay_iter();
            loop {
                let error = match self.hear(news).await {
                    Heard::Failed(error) => error,
                    Heard::LostConnection(error) => {
                        delays = database::delay_iter();
                        error
                    }
                };
                tracing::debug!(error = &error as &dyn std::error::Error, "not listening to the database");
                tokio::time::sleep(delays.next().unwrap_or(PATIENCE)).await;
            }
        };
        tokio::select! {
            () = hear => {}
            () = stop.cancelled() => {}
        }
    }

    async fn hear(&self, news: &Notify) -> Heard {
        let mut changes = match self.store.changes_by_others().await {
            Ok(changes) => changes,
            Err(error) => return Heard::Failed(error),
        };
        loop {
            match changes.next().await {
                Ok(Change::Jobs(jobs)) if self.running.any_of(&jobs) => news.notify_one(),
                Ok(Change::Unknown) => news.notify_one(),
                Ok(Change::Jobs(_) | Change::Outbox) => {}
                Err(error) => return Heard::LostConnection(error),
            }
        }
    }
}

enum Heard {
    Failed(darkroom_store::Error),
    LostConnection(darkroom_store::Error),
}
