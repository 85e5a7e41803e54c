//! Why a queued job is passed over, if it does not just wait for its turn.

use darkroom_jobs::{Lane, TenantId};

use crate::backlog::Backlog;
use crate::{FilesStatus, Queued, Worker};

/// Why a queued job cannot be leased at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// Operators have paused its lane.
    LanePaused,
    /// No worker serves its model at the moment.
    NoWorkerForModel,
    /// Workers serve its model, and none has the files yet.
    ModelLoading,
    /// An attempt failed, and the pause before the next one is not over.
    WaitingForRetry,
    /// Its owner has as many running jobs as it may.
    TenantLimit,
}

impl Blocked {
    /// The word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LanePaused => "lane_paused",
            Self::NoWorkerForModel => "no_worker_for_model",
            Self::ModelLoading => "model_loading",
            Self::WaitingForRetry => "waiting_for_retry",
            Self::TenantLimit => "tenant_limit",
        }
    }
}

impl Backlog {
    /// Why this job cannot be leased at the moment; of several reasons the one that others can do least about.
    pub fn blocked(&self, job: &Queued) -> Option<Blocked> {
        let lane = self.blocked_lane(&job.lane);
        let retry = job.backing_off.then_some(Blocked::WaitingForRetry);
        lane.or(retry).or_else(|| self.at_limit(job.tenant).then_some(Blocked::TenantLimit))
    }

    /// Why a job of this lane and tenant could not be leased that is submitted now.
    pub fn blocked_new(&self, lane: &Lane, tenant: TenantId) -> Option<Blocked> {
        self.blocked_lane(lane).or_else(|| self.at_limit(tenant).then_some(Blocked::TenantLimit))
    }

    /// Why no job of this lane can be leased at the moment.
    pub fn blocked_lane(&self, lane: &Lane) -> Option<Blocked> {
        if self.paused.contains(lane) {
            return Some(Blocked::LanePaused);
        }
        let mut serving = self.workers.iter().filter(|worker| worker.lanes.contains(lane)).peekable();
        if serving.peek().is_none() {
            return Some(Blocked::NoWorkerForModel);
        }
        if serving.clone().any(|worker| has_files(worker, lane)) {
            return None;
        }
        let failed = |worker: &Worker| {
            worker.models.get(lane).is_some_and(|model| matches!(model.files, FilesStatus::Failed { .. }))
        };
        Some(if serving.all(failed) { Blocked::NoWorkerForModel } else { Blocked::ModelLoading })
    }

    /// Whether a tenant runs as many jobs as it may.
    pub fn at_limit(&self, tenant: TenantId) -> bool {
        let most = self.limits(tenant).max_running;
        most.is_some_and(|most| self.running_of(tenant).jobs >= f64::from(most))
    }
}

fn has_files(worker: &Worker, lane: &Lane) -> bool {
    let files = worker.models.get(lane).map(|model| &model.files);
    worker.loaded.contains(lane) || matches!(files, None | Some(FilesStatus::Available))
}
