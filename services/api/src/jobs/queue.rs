//! Where a queued job stands.

use std::collections::HashMap;

use darkroom_jobs::{JobId, JobState};
use darkroom_store::{Blocked, Job, NewJob, Place};
use serde::Serialize;
use utoipa::ToSchema;

use super::Jobs;
use crate::JobView;
use crate::deadline::bounded;

/// Where a queued job stands in its model's queue: estimates, that change without a new version of the job.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueView {
    /// 1 for the job that will start next.
    #[schema(example = 3)]
    pub position: u64,
    /// Seconds until it starts, by how long the latest jobs took; null while that is not known, or while something
    /// else than the jobs before it keeps it from starting.
    #[schema(example = 12.5)]
    pub estimated_wait_seconds: Option<f64>,
}

/// What is known of a queued job beyond its row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    place: Place,
    blocked: Option<Blocked>,
}

impl Standing {
    pub(super) fn queue(&self) -> QueueView {
        let wait = self.place.wait.filter(|_| self.blocked.is_none());
        let tenths = |seconds: f64| (seconds * 10.0).round() / 10.0;
        QueueView {
            position: self.place.ahead + 1,
            estimated_wait_seconds: wait.map(|wait| tenths(wait.as_secs_f64())),
        }
    }

    pub(super) fn reason(&self) -> Option<&'static str> {
        self.blocked.map(Blocked::as_str)
    }
}

impl Jobs {
    /// A job as the API shows it.
    pub(crate) async fn view(&self, job: Job) -> JobView {
        let standings = self.standings(std::slice::from_ref(&job)).await;
        let standing = standings.get(&job.id).copied();
        self.show(job, standing)
    }

    /// A job that was just accepted, as the API shows it: in a long queue its place is known without counting.
    pub(crate) async fn view_accepted(&self, job: Job) -> JobView {
        let queued = job.state == JobState::Queued;
        let backlog = if queued { self.backlogs.latest().await } else { None };
        let place = backlog.as_ref().and_then(|it| it.place_of_last(&job.lane, job.priority, job.tenant));
        let (Some(backlog), Some(place)) = (backlog, place) else { return self.view(job).await };
        let standing = Standing { place, blocked: backlog.blocked_new(&job.lane, job.tenant) };
        self.show(job, Some(standing))
    }

    /// Jobs as the API shows them.
    pub(crate) async fn views(&self, jobs: Vec<Job>) -> Vec<JobView> {
        let standings = self.standings(&jobs).await;
        let show = |job: Job| {
            let standing = standings.get(&job.id).copied();
            self.show(job, standing)
        };
        jobs.into_iter().map(show).collect()
    }

    /// Where a job would stand that is submitted now; `None` while that is not known.
    pub(super) async fn standing_of_new(&self, job: &NewJob) -> Option<Standing> {
        let backlog = self.backlogs.latest().await?;
        let lane = &job.submission.lane;
        let place = backlog.place_of_new(lane, job.submission.options.priority, job.tenant);
        Some(Standing { place, blocked: backlog.blocked_new(lane, job.tenant) })
    }

    fn show(&self, job: Job, standing: Option<Standing>) -> JobView {
        let mut view = JobView::new(job, &self.links);
        if let Some(standing) = standing {
            view.queue = Some(standing.queue());
            view.blocked_reason = standing.reason();
        }
        view
    }

    /// Where those of these jobs stand that are queued. A job is shown without that rather than not at all.
    async fn standings(&self, jobs: &[Job]) -> HashMap<JobId, Standing> {
        let queued: Vec<JobId> =
            jobs.iter().filter(|job| job.state == JobState::Queued).map(|job| job.id).collect();
        if queued.is_empty() {
            return HashMap::new();
        }
        let Some(backlog) = self.backlogs.latest().await else { return HashMap::new() };
        match bounded(self.store.queued(&queued)).await {
            Ok(queued) => queued
                .into_iter()
                .map(|job| (job.id, Standing { place: backlog.place(&job), blocked: backlog.blocked(&job) }))
                .collect(),
            Err(error) => {
                tracing::debug!(%error, "failed to see where jobs stand");
                HashMap::new()
            }
        }
    }
}
