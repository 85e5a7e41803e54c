//! Keeping warm models loaded: at start, and again whenever the device starts anew.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use darkroom_jobs::Lane;
use tokio_util::sync::CancellationToken;

use crate::device::Trouble;
use crate::failure;
use crate::worker::Worker;

impl Worker {
    /// Tries to load every warm model that is not loaded and whose files are here. `true` when all of the warm
    /// models are loaded.
    pub(crate) async fn warm_up(&self) -> bool {
        for lane in self.missing().into_iter().filter(|lane| self.library.has(lane)) {
            let outcome = self.device.load(&lane).await;
            self.note_load(&lane, outcome.as_ref().err());
        }
        self.missing().is_empty()
    }

    /// Remembers whether a lane's model could be loaded.
    pub(crate) fn note_load(&self, lane: &Lane, trouble: Option<&Trouble>) {
        match trouble {
            None => self.lanes.loaded(lane),
            Some(trouble) => {
                let error = failure::chain(trouble);
                tracing::warn!(%lane, error, "failed to load a model");
                self.lanes.load_failed(lane, error);
            }
        }
    }

    /// Warm lanes whose model is not loaded.
    pub(crate) fn missing(&self) -> Vec<Lane> {
        let loaded = self.device.loaded();
        let warm = self.served.models().iter().filter(|model| model.warm && !loaded.contains(&model.lane));
        warm.map(|model| model.lane.clone()).collect()
    }

    /// Loads warm models until all of them are loaded, and again whenever the device starts anew. Cancels
    /// `tried` when each whose files are here was tried once.
    pub(crate) async fn keep_warm(&self, tried: &CancellationToken, stop: &CancellationToken) {
        let keep = async {
            let mut restarts = self.device.restarts();
            let mut arrivals = self.library.arrivals();
            loop {
                let mut delays = delays();
                while !self.warm_up().await {
                    tried.cancel();
                    tokio::select! {
                        () = tokio::time::sleep(delays.next().unwrap_or(LONGEST)) => {}
                        Ok(()) = arrivals.changed() => {}
                    }
                }
                tried.cancel();
                if restarts.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! {
            () = keep => {}
            () = stop.cancelled() => {}
        }
    }

    /// Whether every warm model is loaded, for readiness.
    pub(crate) fn check_models(&self) -> Result<(), String> {
        let Some(lane) = self.missing().into_iter().next() else { return Ok(()) };
        Err(match self.library.obstacle(&lane).or_else(|| self.lanes.error(&lane)) {
            Some(error) => format!("{lane}: {error}"),
            None => format!("{lane} is being loaded"),
        })
    }
}

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses between tries, without end.
pub(crate) fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(LONGEST)
        .without_max_times()
        .with_jitter()
        .build()
}
