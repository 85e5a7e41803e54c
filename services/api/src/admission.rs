//! Whether another job is accepted: limits of its key and its tenant (429), and what the whole deployment can bear
//! (503). Counts are a second or two old, plus what this process has accepted since, so that accepting stays one
//! statement. While the database does not count, the last counts serve for a while; after that jobs are accepted,
//! since a database that is that far gone refuses them by itself.

mod capacity;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use darkroom_jobs::{Priority, TenantId};
use darkroom_store::{Backlog, NewJob, Spent, Store};
use moka::future::Cache;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::auth::TenantKey;
use crate::backlog::Backlogs;
use crate::deadline::bounded;
pub use capacity::Capacity;

/// How old a count may be.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Counts kept in memory, of tenants and of keys.
const CACHED: u64 = 10_000;
/// When to try again where nothing is known of when that will help.
const SOON: Duration = Duration::from_secs(5);
/// The longest time after which to try again, but for the end of a day.
const LATE: Duration = Duration::from_secs(60);

/// Why a job is not accepted now.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The tenant has as many queued jobs as it may.
    #[error(
        "more than the {max} jobs would be queued that this tenant may have: try again when some have started"
    )]
    QueueFull {
        /// How many it may have.
        max: i32,
        /// When to try again.
        retry_after: Duration,
    },
    /// The tenant's day has cost what it may cost.
    #[error("with this the day would cost more than the {max} that this tenant may spend")]
    DailyCost {
        /// What it may spend.
        max: Decimal,
        /// When to try again.
        retry_after: Duration,
    },
    /// The key has as many unfinished interactive jobs as it may.
    #[error(
        "more than the {max} interactive jobs would be unfinished that this key may have: try again when one has ended, \
             or with another priority"
    )]
    InteractiveLimit {
        /// How many it may have.
        max: u32,
        /// When to try again.
        retry_after: Duration,
    },
    /// More waits than the deployment can bear.
    #[error("too many jobs wait: try again later")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
}

impl Refusal {
    /// When to try again.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::QueueFull { retry_after, .. }
            | Self::DailyCost { retry_after, .. }
            | Self::InteractiveLimit { retry_after, .. }
            | Self::Overloaded { retry_after } => *retry_after,
        }
    }

    /// The stable word for it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_limit",
            Self::DailyCost { .. } => "daily_cost_limit",
            Self::InteractiveLimit { .. } => "interactive_limit",
            Self::Overloaded { .. } => "overloaded",
        }
    }
}

/// Who decides.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    store: Store,
    capacity: Capacity,
    backlogs: Backlogs,
    spent: Cache<TenantId, Spent>,
    interactive: Cache<Uuid, Arc<AtomicI64>>,
}

impl Admission {
    pub(crate) fn new(store: Store, capacity: Capacity, backlogs: Backlogs) -> Self {
        let spent = Cache::builder().max_capacity(CACHED).time_to_live(MAX_AGE).build();
        let interactive = Cache::builder().max_capacity(CACHED).time_to_live(MAX_AGE).build();
        Self { store, capacity, backlogs, spent, interactive }
    }

    /// Why these jobs of one key are not accepted now, all of them; `None` when they are.
    pub(crate) async fn refusal(&self, key: &TenantKey, jobs: &[NewJob]) -> Option<Refusal> {
        let refusal = self.decide(key, jobs).await;
        if let Some(refusal) = &refusal {
            metrics::counter!("darkroom_jobs_refused_total", "code" => refusal.code())
                .increment(jobs.len() as u64);
        }
        refusal
    }

    /// The same for jobs that are only tried. The limits of the caller come first.
    pub(crate) async fn decide(&self, key: &TenantKey, jobs: &[NewJob]) -> Option<Refusal> {
        if let Some(refusal) = self.over_interactive(key, jobs).await {
            return Some(refusal);
        }
        let backlog = self.backlogs.latest().await?;
        let lasts: Vec<&NewJob> = last_of_each(jobs).collect();
        // What is accepted before it counts as if it waited already.
        let mut before = Cow::Borrowed(&*backlog);
        for job in jobs.iter().filter(|job| !lasts.iter().any(|last| last.id == job.id)) {
            before.to_mut().add(job);
        }
        for &last in &lasts {
            let mut backlog = before.clone();
            for other in lasts.iter().filter(|other| other.id != last.id) {
                backlog.to_mut().add(other);
            }
            if let Some(refusal) = over_queue(&backlog, last) {
                return Some(refusal);
            }
            if let Some(refusal) = self.over_day(&backlog, last).await {
                return Some(refusal);
            }
            if let Some(refusal) = self.capacity.over(&backlog, last) {
                return Some(refusal);
            }
        }
        None
    }

    /// Counts a job that was accepted.
    pub(crate) async fn accepted(&self, job: &NewJob) {
        self.backlogs.add(job);
        if let (Some(key), Priority::Interactive) = (job.api_key, job.submission.options.priority)
            && let Some(jobs) = self.interactive.get(&key).await
        {
            jobs.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn over_interactive(&self, key: &TenantKey, jobs: &[NewJob]) -> Option<Refusal> {
        let is_interactive = |job: &&NewJob| job.submission.options.priority == Priority::Interactive;
        let wanted = jobs.iter().filter(is_interactive).count() as i64;
        let max = key.max_interactive.filter(|_| wanted > 0)?;
        let count = async {
            let jobs = bounded(self.store.interactive_jobs(key.id)).await?;
            Ok::<_, crate::Error>(Arc::new(AtomicI64::new(jobs)))
        };
        let jobs = self.interactive.try_get_with(key.id, count).await.ok()?;
        let full = jobs.load(Ordering::Relaxed) + wanted > i64::from(max);
        full.then_some(Refusal::InteractiveLimit { max, retry_after: SOON })
    }

    /// What unfinished jobs will cost if they succeed counts as well: else a day could be spent many times over.
    async fn over_day(&self, backlog: &Backlog, job: &NewJob) -> Option<Refusal> {
        let max = backlog.limits(job.tenant).max_daily_cost?;
        let spent = self.spent.try_get_with(job.tenant, bounded(self.store.spent_today(job.tenant)));
        let spent = spent.await.ok()?;
        let promised = backlog.queued_of(job.tenant).price + backlog.running_of(job.tenant).price;
        let retry_after = Duration::try_from_secs_f64(spent.day_ends_in_s.ceil()).unwrap_or(LATE);
        (spent.cost + promised + job.price > max).then_some(Refusal::DailyCost { max, retry_after })
    }
}

/// The last job of each lane and class: the one that the jobs before it weigh on most.
fn last_of_each(jobs: &[NewJob]) -> impl Iterator<Item = &NewJob> {
    let place = |job: &NewJob| (job.submission.lane.to_string(), job.submission.options.priority.class());
    let last: BTreeMap<_, _> = jobs.iter().map(|job| (place(job), job)).collect();
    last.into_values()
}

fn over_queue(backlog: &Backlog, job: &NewJob) -> Option<Refusal> {
    let max = backlog.limits(job.tenant).max_queued?;
    if backlog.queued_of(job.tenant).jobs < f64::from(max) {
        return None;
    }
    let options = &job.submission.options;
    let place = backlog.place_of_new(&job.submission.lane, options.priority, job.tenant);
    // Until one of its jobs starts, as far as that is known.
    let turn = place.wait.map(|wait| wait / u32::try_from(place.ahead).unwrap_or(u32::MAX).max(1));
    Some(Refusal::QueueFull { max, retry_after: turn.map_or(SOON, polite) })
}

/// Neither at once nor never.
fn polite(wait: Duration) -> Duration {
    wait.clamp(Duration::from_secs(1), LATE)
}
