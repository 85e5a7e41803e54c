//! The reference model: what the store is to do, in memory and one step at a time.

use std::collections::{BTreeMap, BTreeSet};

use darkroom_jobs::{FailureClass, JobState, Transition};
use darkroom_store::{Canceled, Deleted};

use super::rows::{AttemptRow, JobRow, Millis, Rows, Ticket};
use super::step::{Answer, Held, JobNo, Publication, Request, Step, Submitted, Tenant, Worker};
use crate::builder::{lane, new_job};

/// A job of the model.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) row: JobRow,
}

/// The state of the model.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) now: Millis,
    pub(super) jobs: BTreeMap<JobNo, Job>,
    pub(super) outbox: Vec<Ticket>,
    /// When a worker last said that it lives.
    pub(super) seen: BTreeMap<Worker, Millis>,
    pub(super) paused: BTreeSet<&'static str>,
    /// The answer to the latest step.
    pub(super) answer: Answer,
}

impl Model {
    /// How long a claimed outbox row is left alone.
    const CLAIM: Millis = 10_000;

    pub(super) fn new() -> Self {
        Self {
            now: 0,
            jobs: BTreeMap::new(),
            outbox: Vec::new(),
            seen: BTreeMap::new(),
            paused: BTreeSet::new(),
            answer: Answer::Nothing,
        }
    }

    /// Takes a step, and keeps its answer.
    pub(super) fn take(&mut self, step: &Step) {
        self.answer = match step {
            Step::Submit(no, request) => Answer::Submitted(self.submit(*no, request)),
            Step::Seen(worker) => {
                self.seen.insert(*worker, self.now);
                Answer::Nothing
            }
            Step::Lease(worker) => Answer::Leased(self.lease(*worker)),
            Step::FindLease(held) => Answer::Leased(self.holds(*held).then(|| self.granted(*held))),
            Step::Beat(beats) => Answer::Pulses(beats.iter().map(|&held| self.beat(held)).collect()),
            Step::Record(held, index) => Answer::Recorded(self.record(*held, *index)),
            Step::Settle(held, ending) => Answer::Settled(self.settle(*held, *ending)),
            Step::Cancel(tenant, no) => Answer::Canceled(self.cancel(*tenant, *no)),
            Step::Delete(tenant, no) => Answer::Deleted(self.delete(*tenant, *no)),
            Step::Reap => Answer::Reaped(self.reap()),
            Step::Expire => Answer::Expired(self.expire()),
            Step::Relay(publication) => Answer::Claimed(self.relay(*publication)),
            Step::Pause(model) => {
                self.paused.insert(model);
                Answer::Nothing
            }
            Step::Resume(model) => {
                self.paused.remove(model);
                Answer::Nothing
            }
            Step::Wait(time) => {
                self.now += time;
                Answer::Nothing
            }
        };
    }

    /// What the tables have to say.
    pub(super) fn rows(&self) -> Rows {
        let mut outbox = self.outbox.clone();
        outbox.sort();
        let jobs = self.jobs.values().map(|job| job.row.clone()).collect();
        Rows { jobs, outbox, versions: Vec::new() }
    }

    pub(super) fn job(&self, no: JobNo) -> &Job {
        &self.jobs[&no]
    }

    pub(super) fn row_mut(&mut self, no: JobNo) -> &mut JobRow {
        &mut self.jobs.get_mut(&no).unwrap().row
    }

    /// Whether a lease still holds: the attempt is the job's latest, and runs.
    pub(super) fn holds(&self, held: Held) -> bool {
        let row = &self.job(held.job).row;
        row.state == JobState::Running && row.attempt == held.attempt
    }

    pub(super) fn attempt(&self, held: Held) -> &AttemptRow {
        &self.job(held.job).row.attempts[usize::try_from(held.attempt - 1).unwrap()]
    }

    /// Every change of a state goes through here. `failure` is that of the attempt.
    ///
    /// # Panics
    /// When the state machine does not know the event in the job's state.
    pub(super) fn happens(&mut self, no: JobNo, event: Transition, failure: Option<FailureClass>) {
        let now = self.now;
        let Request { tenant, model, .. } = self.job(no).request;
        let row = self.row_mut(no);
        row.state = row.state.after(event).unwrap();
        row.leased = row.state == JobState::Running;
        row.finished_at = row.state.is_final().then_some(now);
        if let Some(attempt) = row.attempts.last_mut()
            && let Some(state) = attempt.state.after(event)
        {
            attempt.state = state;
            attempt.failure = failure;
            attempt.finished_at = Some(now);
        }
        if row.state == JobState::Queued {
            let available_at = row.available_at;
            self.outbox.push(Ticket { available_at, lane: lane(model).to_string() });
        } else if row.state.is_final() && tenant.has_webhook() {
            row.events.push(format!("job.{}", row.state));
        }
    }

    fn submit(&mut self, no: JobNo, request: &Request) -> Submitted {
        let same_key = |job: &Job| job.request.tenant == request.tenant && job.request.key == request.key;
        let earlier = self.jobs.iter().find(|(_, job)| request.key.is_some() && same_key(job));
        if let Some((&earlier, job)) = earlier {
            return match job {
                _ if job.request.body != request.body => Submitted::KeyReused,
                _ if job.row.deleted => Submitted::Deleted,
                _ => Submitted::Replayed(earlier),
            };
        }
        let retention = new_job(request.tenant.id()).submission.options.retention;
        let deadline_s = request.deadline_s.map_or(retention.as_secs(), u64::from);
        let row = JobRow {
            state: JobState::Queued,
            attempt: 0,
            failures: 0,
            worker_deaths: 0,
            leased: false,
            cost: None,
            artifact_count: None,
            failure: None,
            avoid: None,
            available_at: self.now,
            deadline: self.now + Millis::try_from(deadline_s * 1000).unwrap(),
            created_at: self.now,
            started_at: None,
            finished_at: None,
            deleted: false,
            attempts: Vec::new(),
            artifacts: Vec::new(),
            events: Vec::new(),
        };
        self.jobs.insert(no, Job { request: request.clone(), row });
        self.outbox.push(Ticket { available_at: self.now, lane: lane(request.model).to_string() });
        Submitted::Created(no)
    }

    /// Whether a tenant sees a job.
    fn sees(&self, tenant: Tenant, no: JobNo) -> bool {
        let job = self.job(no);
        job.request.tenant == tenant && !job.row.deleted
    }

    fn cancel(&mut self, tenant: Tenant, no: JobNo) -> Canceled {
        if !self.sees(tenant, no) {
            return Canceled::NotFound;
        }
        if self.job(no).row.state.is_final() {
            return Canceled::AlreadyFinal;
        }
        self.happens(no, Transition::Canceled, None);
        Canceled::Done
    }

    fn delete(&mut self, tenant: Tenant, no: JobNo) -> Deleted {
        if !self.sees(tenant, no) {
            return Deleted::NotFound;
        }
        if !self.job(no).row.state.is_final() {
            return Deleted::NotFinal;
        }
        self.row_mut(no).deleted = true;
        Deleted::Done
    }

    fn expire(&mut self) -> Vec<JobNo> {
        let overdue = self.overdue();
        for &no in &overdue {
            self.happens(no, Transition::Expired, None);
        }
        overdue
    }

    /// Jobs that are not final although their deadline has passed.
    pub(super) fn overdue(&self) -> Vec<JobNo> {
        let due = |job: &Job| !job.row.state.is_final() && job.row.deadline <= self.now;
        self.jobs.iter().filter(|(_, job)| due(job)).map(|(&no, _)| no).collect()
    }

    fn relay(&mut self, publication: Publication) -> Vec<String> {
        let now = self.now;
        let (claimed, left): (Vec<_>, Vec<_>) =
            self.outbox.drain(..).partition(|ticket| ticket.available_at <= now);
        let mut lanes: Vec<String> = claimed.iter().map(|ticket| ticket.lane.clone()).collect();
        lanes.sort();
        self.outbox = left;
        if publication == Publication::Lost {
            let again = |ticket: Ticket| Ticket { available_at: now + Self::CLAIM, ..ticket };
            self.outbox.extend(claimed.into_iter().map(again));
        }
        lanes
    }
}
