//! The order in which the reference model hands jobs out.

use std::collections::BTreeMap;

use darkroom_jobs::JobState;

use super::reference::{Job, Model};
use super::rows::Millis;
use super::step::{JobNo, Tenant, Worker};

impl Model {
    const AGEING: Millis = 300_000;
    const AFFINITY: Millis = 15_000;

    /// The job that a worker gets: the best of the first ones of every (lane, class, tenant).
    pub(super) fn next_for(&self, worker: Worker) -> Option<JobNo> {
        let mut heads = BTreeMap::new();
        for (&no, job) in self.jobs.iter().filter(|(_, job)| self.is_leasable(job, worker)) {
            let Job { request, .. } = job;
            heads.entry((request.model, request.priority, request.tenant)).or_insert(no);
        }
        heads.into_values().min_by_key(|&no| self.rank(worker, no))
    }

    fn is_leasable(&self, job: &Job, worker: Worker) -> bool {
        let Job { request, row } = job;
        let avoided = row.avoid.is_some_and(|avoid| avoid.worker == worker && avoid.until > self.now);
        let running = self.running(request.tenant).count();
        row.state == JobState::Queued
            && worker.models().contains(&request.model)
            && !self.paused.contains(request.model)
            && request.tenant.max_running().is_none_or(|most| running < most)
            && row.available_at <= self.now
            && row.deadline > self.now
            && !avoided
    }

    fn rank(&self, worker: Worker, no: JobNo) -> impl Ord + use<> {
        let Job { request, row } = self.job(no);
        let loaded = worker.loaded().contains(&request.model);
        let waited = self.now - row.created_at;
        let class = (Millis::from(request.priority.class()) - waited / Self::AGEING).max(0);
        let running: u32 = self.running(request.tenant).map(|job| job.request.images).sum();
        let latest = self
            .of_tenant(request.tenant)
            .filter(|job| job.request.model == request.model)
            .flat_map(|job| job.row.attempts.iter().map(|attempt| attempt.leased_at))
            .max();
        (!(loaded || waited > Self::AFFINITY), class, running, latest, !loaded, no)
    }

    /// How long it is until something may change by time alone, to the millisecond and just over it.
    pub(super) fn turning_points(&self) -> Vec<Millis> {
        let unfinished = self.jobs.values().filter(|job| !job.row.state.is_final());
        let moments = unfinished.flat_map(|job| {
            let row = &job.row;
            let waiting = [row.available_at, row.created_at + Self::AFFINITY, row.created_at + Self::AGEING];
            let until = row.avoid.map(|avoid| avoid.until);
            let lease = row.attempts.last().map(|attempt| attempt.expires_at);
            waiting.into_iter().chain(until).chain(lease).chain([row.deadline])
        });
        let ahead = moments.map(|moment| moment - self.now).filter(|time| (0..=Self::AGEING).contains(time));
        ahead.flat_map(|time| [time, time + 1]).filter(|&time| time > 0).chain([1000, 10_000]).collect()
    }

    fn of_tenant(&self, tenant: Tenant) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(move |job| job.request.tenant == tenant)
    }

    fn running(&self, tenant: Tenant) -> impl Iterator<Item = &Job> {
        self.of_tenant(tenant).filter(|job| job.row.state == JobState::Running)
    }
}
