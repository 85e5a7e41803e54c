//! Fetching models' files in the background, warm ones first.

use std::sync::Arc;
use std::time::Duration;

use darkroom_jobs::Lane;
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::failure;
use crate::model_store::{Error, Progress, Wanted};
use crate::served::Weights;
use crate::warmup;
use crate::worker::Worker;

/// Models that are fetched at once: with more of them, the first would be there later.
const AT_ONCE: usize = 2;
/// Between two lines in the log about a fetch.
const TOLD_EVERY: Duration = Duration::from_secs(5);

impl Worker {
    /// Fetches the files of every served model that are not here, and tries again for ever what fails. Ends
    /// only when asked to stop, as every loop of a service.
    pub(crate) async fn fetch_models(&self, stop: &CancellationToken) {
        let mut absent: Vec<_> =
            self.served.models().iter().filter(|model| !self.library.has(&model.lane)).collect();
        absent.sort_by_key(|model| !model.warm);
        // Its queue is first in, first out.
        let turns = Semaphore::new(AT_ONCE);
        let mut fetches = Vec::new();
        for model in absent {
            if let Weights::Files(wanted) = &model.weights {
                fetches.push(self.fetch_until_here(&model.lane, wanted, &turns));
            }
        }
        tokio::select! {
            _ = join_all(fetches) => stop.cancelled().await,
            () = stop.cancelled() => {}
        }
    }

    async fn fetch_until_here(&self, lane: &Lane, wanted: &Wanted, turns: &Semaphore) {
        for delay in warmup::delays() {
            let turn = turns.acquire().await;
            match self.fetch(lane, wanted).await {
                Ok(()) => return,
                Err(error) => {
                    self.library.failed(lane, error.reason());
                    let error = failure::chain(&error);
                    tracing::warn!(%lane, error, again_in = ?delay, "failed to fetch a model");
                }
            }
            drop(turn);
            tokio::time::sleep(delay).await;
        }
    }

    async fn fetch(&self, lane: &Lane, wanted: &Wanted) -> Result<(), Error> {
        let progress = Arc::new(Progress::default());
        self.library.fetching(lane, progress.clone());
        let begun = Instant::now();
        let folder = tokio::select! {
            folder = self.model_store.model(wanted, &progress) => folder?,
            never = tell(lane, &progress) => match never {},
        };
        let (_, total_bytes) = progress.bytes();
        tracing::info!(%lane, total_bytes, seconds = begun.elapsed().as_secs_f64(), "the model's files are here");
        self.library.arrived(lane, folder);
        Ok(())
    }
}

/// Writes a line about a fetch every few seconds, until it is dropped.
async fn tell(lane: &Lane, progress: &Progress) -> std::convert::Infallible {
    let mut ticks = interval_at(Instant::now() + TOLD_EVERY, TOLD_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut before) = (Instant::now(), 0);
    loop {
        let now = ticks.tick().await;
        let (downloaded_bytes, total_bytes) = progress.bytes();
        let seconds = now.duration_since(last).as_secs_f64();
        let bytes_per_second = (downloaded_bytes.saturating_sub(before) as f64 / seconds).round();
        tracing::info!(%lane, downloaded_bytes, total_bytes, bytes_per_second, "fetching a model");
        (last, before) = (now, downloaded_bytes);
    }
}
