//! Which lanes a worker asks for: those whose model it can be expected to load.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use darkroom_jobs::Lane;
use tokio::time::Instant;

/// How long a lane stays closed after its model failed to load; doubled with each failure in a row.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// The longest it stays closed.
const MAX_COOL_DOWN: Duration = Duration::from_secs(300);

/// The lanes of a worker. One whose model fails to load is closed for a while, so that its jobs go to other
/// workers, or wait, instead of failing here one after another.
#[derive(Debug)]
pub(crate) struct Lanes(Mutex<BTreeMap<Lane, Standing>>);

#[derive(Debug, Default)]
struct Standing {
    failures: u32,
    closed_until: Option<Instant>,
    error: Option<String>,
}

impl Lanes {
    /// All of them open.
    pub(crate) fn new(lanes: impl IntoIterator<Item = Lane>) -> Self {
        Self(Mutex::new(lanes.into_iter().map(|lane| (lane, Standing::default())).collect()))
    }

    /// Lanes to ask for.
    pub(crate) fn open(&self) -> Vec<Lane> {
        let now = Instant::now();
        let lanes = self.lock();
        let open =
            lanes.iter().filter(|(_, standing)| standing.closed_until.is_none_or(|until| until <= now));
        open.map(|(lane, _)| lane.clone()).collect()
    }

    /// The lane's model is loaded.
    pub(crate) fn loaded(&self, lane: &Lane) {
        if let Some(standing) = self.lock().get_mut(lane) {
            *standing = Standing::default();
        }
    }

    /// The lane's model failed to load.
    pub(crate) fn load_failed(&self, lane: &Lane, error: String) {
        if let Some(standing) = self.lock().get_mut(lane) {
            let closed = COOL_DOWN.saturating_mul(1 << standing.failures.min(16)).min(MAX_COOL_DOWN);
            standing.failures += 1;
            standing.closed_until = Some(Instant::now() + closed);
            standing.error = Some(error);
        }
    }

    /// Why the lane's model failed to load, if that was the last that was heard of it.
    pub(crate) fn error(&self, lane: &Lane) -> Option<String> {
        self.lock().get(lane)?.error.clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Lane, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str) -> Lane {
        format!("image-to-text:{name}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn failing_lane_is_closed_for_longer_and_longer() {
        let lanes = Lanes::new([lane("a"), lane("b")]);
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
            lanes.load_failed(&lane("a"), "no weights".to_owned());
            assert_eq!(lanes.open(), [lane("b")]);
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert_eq!(lanes.open(), [lane("b")], "after {seconds} s");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(lanes.open(), [lane("a"), lane("b")], "after {seconds} s");
        }
        assert_eq!(lanes.error(&lane("a")).as_deref(), Some("no weights"));
    }

    #[tokio::test(start_paused = true)]
    async fn loaded_lane_starts_with_a_clean_slate() {
        let lanes = Lanes::new([lane("a")]);
        lanes.load_failed(&lane("a"), "no weights".to_owned());
        lanes.loaded(&lane("a"));
        assert_eq!(lanes.open(), [lane("a")]);
        assert_eq!(lanes.error(&lane("a")), None);
        lanes.load_failed(&lane("a"), "no weights".to_owned());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(lanes.open(), [lane("a")]);
    }
}
