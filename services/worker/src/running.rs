//! The attempts this process runs, as heartbeat, watchdog and device see them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use darkroom_jobs::{JobId, LeaseToken};
use darkroom_store::{Lease, Progress};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Why an attempt was stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The job was canceled or has expired: nothing is left to settle.
    Ended,
    /// The lease is gone: nothing may be settled.
    Lost,
    /// Over the time limit of its lane.
    TimedOut,
    /// No step for the stall limit.
    Stalled,
    /// The worker is stopping: the attempt is handed back.
    Draining,
    /// A result could not be stored: the rest would be in vain.
    Failed,
}

/// Whether somebody looks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    Yes,
    No,
}

/// Where an attempt is on the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Phase {
    /// Not there: fetching, or waiting for the device.
    Away,
    /// Its model is being loaded, since this moment.
    Loading(Instant),
    /// Steps are made; the last one at this moment.
    Stepping(Instant),
    /// The device waits until a result is taken off its hands.
    HandingOver,
}

/// One attempt. Shared by the slot that carries it, the heartbeat and the device.
#[derive(Debug)]
pub(crate) struct RunningAttempt {
    lease: Lease,
    canceled: AtomicBool,
    stopped: CancellationToken,
    why: OnceLock<Stop>,
    began: OnceLock<Instant>,
    phase: Mutex<Phase>,
    progress: Mutex<Option<Progress>>,
    /// Whether somebody looks on.
    watched: AtomicBool,
    /// When the latest preview was made.
    previewed: Mutex<Option<Instant>>,
}

/// Least time between two previews of an attempt.
const PREVIEW_PERIOD: Duration = Duration::from_secs(1);

impl RunningAttempt {
    fn new(lease: Lease) -> Self {
        Self {
            lease,
            canceled: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            why: OnceLock::new(),
            began: OnceLock::new(),
            phase: Mutex::new(Phase::Away),
            progress: Mutex::new(None),
            watched: AtomicBool::new(false),
            previewed: Mutex::new(None),
        }
    }

    /// Whether somebody looks on.
    pub(crate) fn watch(&self, watched: Watched) {
        self.watched.store(watched == Watched::Yes, Ordering::Relaxed);
    }

    /// Whether it is time for another preview. Whoever is told so makes one.
    pub(crate) fn wants_preview(&self) -> bool {
        if !self.watched.load(Ordering::Relaxed) {
            return false;
        }
        let mut previewed = lock(&self.previewed);
        let due = previewed.is_none_or(|at| at.elapsed() >= PREVIEW_PERIOD);
        if due {
            *previewed = Some(Instant::now());
        }
        due
    }

    /// Its lease.
    pub(crate) fn lease(&self) -> Lease {
        self.lease
    }

    /// Stops it at the next step. The first reason counts.
    pub(crate) fn stop(&self, why: Stop) {
        let _ = self.why.set(why);
        self.canceled.store(true, Ordering::Relaxed);
        self.stopped.cancel();
    }

    /// Why it was stopped, if it was.
    pub(crate) fn why(&self) -> Option<Stop> {
        self.why.get().copied()
    }

    /// Waits until it is stopped.
    pub(crate) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// What a model looks at between steps.
    pub(crate) fn canceled(&self) -> &AtomicBool {
        &self.canceled
    }

    /// The device goes over to `phase`. The first move away from [`Phase::Away`] starts the time limit.
    pub(crate) fn enter(&self, phase: Phase) {
        let _ = self.began.get_or_init(Instant::now);
        *lock(&self.phase) = phase;
    }

    /// The device made a step.
    pub(crate) fn step(&self, progress: Progress) {
        *lock(&self.progress) = Some(progress);
        self.enter(Phase::Stepping(Instant::now()));
    }

    /// Where it is.
    pub(crate) fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    /// When the device began with it.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.began.get().copied()
    }

    /// The latest step.
    pub(crate) fn progress(&self) -> Option<Progress> {
        *lock(&self.progress)
    }
}

/// Every attempt of this process.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    by_token: HashMap<LeaseToken, Arc<RunningAttempt>>,
    /// Whatever begins now is stopped at once.
    closed: bool,
}

impl Running {
    /// Adds an attempt; it stays until the returned guard is dropped.
    pub(crate) fn begin(&self, lease: Lease) -> Registered<'_> {
        let attempt = Arc::new(RunningAttempt::new(lease));
        let mut attempts = lock(&self.0);
        attempts.by_token.insert(lease.token, attempt.clone());
        if attempts.closed {
            attempt.stop(Stop::Draining);
        }
        metrics::gauge!(crate::measure::SLOTS_BUSY).set(attempts.by_token.len() as f64);
        Registered { running: self, attempt }
    }

    /// Every attempt that has not ended.
    pub(crate) fn all(&self) -> Vec<Arc<RunningAttempt>> {
        lock(&self.0).by_token.values().cloned().collect()
    }

    /// Whether any of these jobs runs here.
    pub(crate) fn any_of(&self, jobs: &[JobId]) -> bool {
        lock(&self.0).by_token.values().any(|attempt| jobs.contains(&attempt.lease.job))
    }

    /// Stops every attempt, and every one that begins from now on.
    pub(crate) fn close(&self) {
        lock(&self.0).closed = true;
        for attempt in self.all() {
            attempt.stop(Stop::Draining);
        }
    }
}

/// Keeps an attempt among the running ones, and so its lease alive.
pub(crate) struct Registered<'a> {
    running: &'a Running,
    attempt: Arc<RunningAttempt>,
}

impl Registered<'_> {
    /// The attempt.
    pub(crate) fn attempt(&self) -> &Arc<RunningAttempt> {
        &self.attempt
    }

    /// Ends the heartbeats of this attempt.
    pub(crate) fn silence(&self) {
        let mut attempts = lock(&self.running.0);
        attempts.by_token.remove(&self.attempt.lease.token);
        metrics::gauge!(crate::measure::SLOTS_BUSY).set(attempts.by_token.len() as f64);
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        // Also when the slot's future is dropped: the device must not go on for nobody.
        self.attempt.canceled.store(true, Ordering::Relaxed);
        self.silence();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    pub(super) fn lease(number: u128) -> Lease {
        Lease {
            job: JobId::from_uuid(Uuid::from_u128(number)),
            attempt: 1,
            token: LeaseToken::from_uuid(Uuid::from_u128(number)),
        }
    }

    #[test]
    fn first_reason_to_stop_counts() {
        let running = Running::default();
        let registered = running.begin(lease(1));
        registered.attempt().stop(Stop::Lost);
        registered.attempt().stop(Stop::Draining);
        assert_eq!(registered.attempt().why(), Some(Stop::Lost));
        assert!(registered.attempt().canceled().load(Ordering::Relaxed));
    }

    #[test]
    fn attempts_are_known_until_their_guard_is_dropped() {
        let running = Running::default();
        let first = running.begin(lease(1));
        let second = running.begin(lease(2));
        assert!(running.any_of(&[lease(1).job]));
        drop(first);
        assert!(!running.any_of(&[lease(1).job]));
        assert_eq!(running.all().len(), 1);
        second.silence();
        assert_eq!(running.all().len(), 0);
    }

    #[test]
    fn closing_stops_what_runs_and_what_begins_later() {
        let running = Running::default();
        let before = running.begin(lease(1));
        running.close();
        let after = running.begin(lease(2));
        assert_eq!(before.attempt().why(), Some(Stop::Draining));
        assert_eq!(after.attempt().why(), Some(Stop::Draining));
    }
}
