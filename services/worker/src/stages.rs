//! How long each stage of an attempt takes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use darkroom_jobs::Lane;
use tokio::time::Instant;

use crate::device::Ran;
use crate::measure;

/// A stage of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// From submission to the lease.
    Queued,
    /// Reading and decoding the input.
    Fetch,
    /// Waiting for the device.
    Wait,
    /// Loading the model.
    Load,
    /// Making steps.
    Inference,
    /// Encoding results.
    Encode,
    /// Storing and recording results.
    Upload,
    /// Telling the database how it ended.
    Settle,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Fetch => "fetch",
            Self::Wait => "wait",
            Self::Load => "load",
            Self::Inference => "inference",
            Self::Encode => "encode",
            Self::Upload => "upload",
            Self::Settle => "settle",
        }
    }
}

/// The times of one attempt.
#[derive(Debug)]
pub(crate) struct Stages {
    lane: Lane,
    granted: Instant,
    totals: Mutex<BTreeMap<Stage, Duration>>,
}

impl Stages {
    /// Starts at the moment the lease was granted.
    pub(crate) fn new(lane: Lane, queued: Duration) -> Self {
        let stages = Self { lane, granted: Instant::now(), totals: Mutex::default() };
        stages.add(Stage::Queued, queued);
        stages
    }

    /// Adds to a stage's total.
    pub(crate) fn add(&self, stage: Stage, duration: Duration) {
        measure::stage(&self.lane, stage.as_str(), duration);
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        *totals.entry(stage).or_default() += duration;
    }

    /// Waits for `work` and adds its time to a stage.
    pub(crate) async fn time<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.add(stage, began.elapsed());
        done
    }

    /// What is stored with a succeeded attempt: totals of the stages, and when inference began and ended, all
    /// in milliseconds, the latter two since the lease was granted.
    pub(crate) fn timings(&self, ran: Option<&Ran>) -> BTreeMap<String, f64> {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = totals.iter().map(|(stage, total)| (format!("{}_ms", stage.as_str()), *total));
        let since_lease = |moment: Instant| moment.saturating_duration_since(self.granted);
        let marks = ran.into_iter().flat_map(|ran| {
            [("inference_started_ms", ran.started), ("inference_ended_ms", ran.ended)]
                .map(|(name, moment)| (name.to_owned(), since_lease(moment)))
        });
        totals.chain(marks).map(|(name, duration)| (name, milliseconds(duration))).collect()
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn totals_add_up_and_marks_count_from_the_lease() {
        let stages = Stages::new("text-to-image:a".parse().unwrap(), Duration::from_micros(1_500));
        stages.time(Stage::Encode, tokio::time::sleep(Duration::from_millis(20))).await;
        stages.time(Stage::Encode, tokio::time::sleep(Duration::from_millis(30))).await;
        let now = Instant::now();
        let ran =
            Ran { taken: now, started: now, ended: now + Duration::from_millis(5), held_up: Duration::ZERO };
        let timings: Vec<(String, f64)> = stages.timings(Some(&ran)).into_iter().collect();
        let expected = [
            ("encode_ms", 50.0),
            ("inference_ended_ms", 55.0),
            ("inference_started_ms", 50.0),
            ("queued_ms", 1.5),
        ];
        assert_eq!(timings, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
