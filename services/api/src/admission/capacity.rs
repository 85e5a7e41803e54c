//! What the whole deployment can bear.

use std::time::Duration;

use clap::Args;
use darkroom_jobs::Priority;
use darkroom_store::{Backlog, NewJob, Tally};

use super::{Refusal, SOON, polite};

/// How much may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Capacity {
    /// Most queued jobs of all tenants, 1 to 10000000. Further ones are refused with 503: background jobs from 80
    /// percent of it on, normal ones from 90, interactive ones last.
    #[arg(
        long,
        env = "DARKROOM_MAX_QUEUED_JOBS",
        value_name = "DARKROOM_MAX_QUEUED_JOBS",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..=10_000_000)
    )]
    pub max_queued_jobs: u64,

    /// Most billed pixels of all queued jobs, at least 1: the same, by the cost of the jobs.
    #[arg(
        long,
        env = "DARKROOM_MAX_QUEUED_PIXELS",
        value_name = "DARKROOM_MAX_QUEUED_PIXELS",
        default_value_t = 100_000_000_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub max_queued_pixels: u64,

    /// Longest wait in seconds, 1 to 2592000: a job that would wait for longer is refused with 503.
    #[arg(
        long,
        env = "DARKROOM_MAX_WAIT_SECONDS",
        value_name = "DARKROOM_MAX_WAIT_SECONDS",
        default_value_t = 86_400,
        value_parser = clap::value_parser!(u64).range(1..=2_592_000)
    )]
    pub max_wait_seconds: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { max_queued_jobs: 100_000, max_queued_pixels: 100_000_000_000, max_wait_seconds: 86_400 }
    }
}

impl Capacity {
    /// Why a job is more than can be borne; `None` when it is not.
    pub(super) fn over(&self, backlog: &Backlog, job: &NewJob) -> Option<Refusal> {
        let retry_after = self.late(backlog, job).or_else(|| self.full(backlog, job).then_some(SOON))?;
        Some(Refusal::Overloaded { retry_after })
    }

    /// Whether as much waits as may, and as much of this tenant as its equal part. So a tenant that has filled the
    /// queue keeps nobody else out, and less than twice the limit waits in the end.
    fn full(&self, backlog: &Backlog, job: &NewJob) -> bool {
        let (all, own) = (backlog.queued(), backlog.queued_of(job.tenant));
        let newcomers = if own.jobs == 0.0 { 1 } else { 0 };
        let tenants = (backlog.tenants() + newcomers) as f64;
        let part = match job.submission.options.priority {
            Priority::Interactive => 1.0,
            Priority::Normal => 0.9,
            Priority::Background => 0.8,
        };
        let full = |of: fn(&Tally) -> f64, most: u64| {
            let most = most as f64 * part;
            of(&all) >= most && of(&own) >= most / tenants
        };
        full(|tally| tally.jobs, self.max_queued_jobs) || full(|tally| tally.units, self.max_queued_pixels)
    }

    /// How much later than is bearable the job would start. Where nothing was measured it goes by how long the
    /// tenant's first job of this lane and class has waited.
    fn late(&self, backlog: &Backlog, job: &NewJob) -> Option<Duration> {
        let (lane, class) = (&job.submission.lane, job.submission.options.priority);
        let expected = backlog.place_of_new(lane, class, job.tenant).wait;
        let waited = || {
            let waited_s =
                backlog.oldest_s(lane, class, job.tenant).filter(|_| !backlog.at_limit(job.tenant));
            waited_s.and_then(|waited_s| Duration::try_from_secs_f64(waited_s).ok())
        };
        let beyond = expected.or_else(waited)?.checked_sub(Duration::from_secs(self.max_wait_seconds))?;
        Some(polite(beyond))
    }
}
