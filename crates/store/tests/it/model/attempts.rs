//! The reference model's workers and reaper: leases, and how attempts end.

use darkroom_jobs::{AttemptState, Failure, FailureClass, JobState, Retry, RetryPolicy, Transition};
use darkroom_store::{Pulse, Recorded, Settled};
use rust_decimal::Decimal;

use super::reference::Model;
use super::rows::{ArtifactRow, AttemptRow, Avoid, Millis};
use super::step::{Ending, Granted, Held, JobNo, Reaped, Worker};

/// Of the delay before a retry: no jitter, so that the model knows it.
pub(super) const JITTER: f64 = 0.5;
/// What every picture of the test's jobs costs.
pub(super) const PRICE_OF_ONE: Decimal = Decimal::from_parts(2, 0, 0, false, 2);

impl Model {
    const LEASE: Millis = 30_000;
    /// How long a worker that ran out of memory leaves the job to others.
    const AVOID: Millis = 60_000;

    pub(super) fn lease(&mut self, worker: Worker) -> Option<Granted> {
        let no = self.next_for(worker)?;
        self.happens(no, Transition::Leased, None);
        let now = self.now;
        let row = self.row_mut(no);
        row.attempt += 1;
        row.started_at.get_or_insert(now);
        row.attempts.push(AttemptRow {
            worker,
            state: AttemptState::Running,
            failure: None,
            leased_at: now,
            expires_at: now + Self::LEASE,
            finished_at: None,
        });
        let attempt = row.attempt;
        Some(self.granted(Held { job: no, attempt }))
    }

    /// What the worker knows of a job whose lease it holds.
    pub(super) fn granted(&self, held: Held) -> Granted {
        let job = self.job(held.job);
        Granted {
            held,
            tenant: job.request.tenant,
            model: job.request.model.to_owned(),
            failures: job.row.failures,
            max_attempts: job.request.max_attempts,
            done: job.row.artifacts.iter().map(|artifact| artifact.index).collect(),
        }
    }

    pub(super) fn beat(&mut self, held: Held) -> Pulse {
        if self.holds(held) {
            let expires_at = self.now + Self::LEASE;
            self.row_mut(held.job).attempts.last_mut().unwrap().expires_at = expires_at;
            return Pulse::Held;
        }
        let row = &self.job(held.job).row;
        let ended = matches!(row.state, JobState::Canceled | JobState::Expired);
        if ended && !row.deleted { Pulse::Ended } else { Pulse::Lost }
    }

    pub(super) fn record(&mut self, held: Held, index: u32) -> Recorded {
        if !self.holds(held) {
            return Recorded::LeaseGone;
        }
        let artifacts = &mut self.row_mut(held.job).artifacts;
        if artifacts.iter().all(|artifact| artifact.index != index) {
            artifacts.push(ArtifactRow { index, attempt: held.attempt });
            artifacts.sort();
        }
        Recorded::Stored
    }

    pub(super) fn settle(&mut self, held: Held, ending: Ending) -> Settled {
        if !self.holds(held) {
            let settled_so = match ending {
                Ending::Succeeded => AttemptState::Succeeded,
                Ending::Failed(_) => AttemptState::Failed,
                Ending::Released => AttemptState::Released,
            };
            let same = self.attempt(held).state == settled_so;
            return if same { Settled::Done } else { Settled::LeaseGone };
        }
        let images = self.job(held.job).request.images;
        let now = self.now;
        match ending {
            Ending::Succeeded if !self.is_complete(held.job) => return Settled::Incomplete,
            Ending::Succeeded => {
                let row = self.row_mut(held.job);
                row.cost = Some(PRICE_OF_ONE * Decimal::from(images));
                row.artifact_count = Some(images);
                self.happens(held.job, Transition::Succeeded, None);
            }
            Ending::Released => {
                self.row_mut(held.job).available_at = now;
                self.happens(held.job, Transition::Released, None);
            }
            Ending::Failed(class) => {
                let retry = self.decide(held.job, class);
                let again = matches!(retry, Retry::After(_));
                self.row_mut(held.job).avoid = None;
                if again && class == FailureClass::OutOfMemory {
                    self.avoid_worker(held.job);
                }
                self.fail(held.job, Transition::Failed(retry), class);
            }
        }
        Settled::Done
    }

    pub(super) fn reap(&mut self) -> Vec<Reaped> {
        self.expired_leases().into_iter().map(|held| self.lose(held)).collect()
    }

    /// Attempts that run although their lease has expired.
    pub(super) fn expired_leases(&self) -> Vec<Held> {
        let running = self.jobs.iter().filter(|(_, job)| job.row.state == JobState::Running);
        running
            .filter(|(_, job)| job.row.attempts.last().unwrap().expires_at < self.now)
            .map(|(&no, job)| Held { job: no, attempt: job.row.attempt })
            .collect()
    }

    /// Whether every result of a job is recorded.
    pub(super) fn is_complete(&self, no: JobNo) -> bool {
        let job = self.job(no);
        job.row.artifacts.len() == job.request.images as usize
    }

    fn lose(&mut self, held: Held) -> Reaped {
        let worker = self.attempt(held).worker;
        let alive = self.seen.get(&worker).is_some_and(|&seen| seen > self.now - Self::LEASE / 2);
        let mut retry = self.decide(held.job, FailureClass::Lost);
        let row = self.row_mut(held.job);
        row.avoid = None;
        if !alive {
            row.worker_deaths += 1;
            if row.worker_deaths >= RetryPolicy::MAX_WORKER_DEATHS {
                retry = Retry::Exhausted;
            }
        }
        self.fail(held.job, Transition::Lost(retry), FailureClass::Lost);
        Reaped { held, worker, worker_died: !alive, requeued: matches!(retry, Retry::After(_)) }
    }

    fn decide(&self, no: JobNo, class: FailureClass) -> Retry {
        let job = self.job(no);
        let policy = RetryPolicy { max_attempts: job.request.max_attempts };
        policy.decide(&Failure::new(class, ""), job.row.failures + 1, JITTER)
    }

    fn avoid_worker(&mut self, no: JobNo) {
        let until = self.now + Self::AVOID;
        let row = self.row_mut(no);
        row.avoid = Some(Avoid { worker: row.attempts.last().unwrap().worker, until });
    }

    fn fail(&mut self, no: JobNo, event: Transition, class: FailureClass) {
        let now = self.now;
        let row = self.row_mut(no);
        row.failures += 1;
        let (Transition::Failed(retry) | Transition::Lost(retry)) = event else { unreachable!() };
        let (delay, verdict) = match retry {
            Retry::After(delay) => (delay.as_millis(), None),
            Retry::Never => (0, Some(class)),
            Retry::Exhausted => (0, Some(FailureClass::Poison)),
        };
        row.available_at = now + Millis::try_from(delay).unwrap();
        row.failure = verdict;
        self.happens(no, event, Some(class));
    }
}
