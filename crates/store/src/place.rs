//! Where a queued job stands: an estimate, by the order in which [`Store::lease`] picks jobs.
//!
//! Of another tenant's jobs those go ahead that have a better class, and of the same class one for each of the own
//! jobs that go ahead, since tenants take turns. What is not known: jobs that are submitted later, how long running
//! ones still take, and which of its lanes a worker turns to.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use darkroom_jobs::{JobId, Lane, Priority, TenantId};
use uuid::Uuid;

use crate::backlog::{Backlog, Waiting};
use crate::rows::At;
use crate::{Error, Store};

/// A queued job, as far as its place goes by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// The job.
    pub id: JobId,
    /// Its lane.
    pub lane: Lane,
    /// Its class when it was submitted.
    pub class: Priority,
    /// Its owner.
    pub tenant: TenantId,
    /// How long it has waited, in seconds.
    pub waited_s: f64,
    /// Jobs of the same owner, lane and class that were submitted before it; no more than
    /// [`Store::COUNTED_AHEAD`] are counted.
    pub own_ahead: i64,
    /// Whether it waits for the time of its next attempt.
    pub backing_off: bool,
}

/// A place in a lane's order, estimated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Queued jobs that will be leased before it.
    pub ahead: u64,
    /// Time until it is leased; `None` while too little is known.
    pub wait: Option<Duration>,
}

/// Jobs that are counted one by one when one more is submitted.
const FEW: f64 = 32.0;

/// What decides between tenants whose heads have the same class: the lesser goes first.
#[derive(PartialEq, PartialOrd)]
struct Turn {
    running_units: f64,
    /// Negative, and least for a tenant that was never leased.
    since_lease_s: f64,
    since_submission_s: f64,
}

/// Jobs of one other tenant.
#[derive(Default)]
struct Others {
    better: f64,
    level: f64,
    jobs: f64,
    units: f64,
}

impl Backlog {
    /// The place of a queued job.
    pub fn place(&self, job: &Queued) -> Place {
        let own = self.group(&job.lane, job.class, job.tenant);
        let mut ahead = job.own_ahead as f64;
        if job.own_ahead >= Store::COUNTED_AHEAD {
            ahead = ahead.max(own.map_or(0.0, |group| group.waited_longer_than(job.waited_s)));
        }
        self.place_behind(job, ahead)
    }

    /// The place that a job would have that is submitted now.
    pub fn place_of_new(&self, lane: &Lane, class: Priority, tenant: TenantId) -> Place {
        let ahead = self.group(lane, class, tenant).map_or(0.0, |group| group.jobs);
        self.place_behind(&new(lane, class, tenant), ahead)
    }

    /// The place of a job that was accepted just now and that the backlog has already. `None` while few of its owner's
    /// jobs wait in its lane and class: then [`Store::queued`] counts them for little.
    pub fn place_of_last(&self, lane: &Lane, class: Priority, tenant: TenantId) -> Option<Place> {
        let group = self.group(lane, class, tenant).filter(|group| group.jobs > FEW)?;
        Some(self.place_behind(&new(lane, class, tenant), group.jobs - 1.0))
    }

    /// The place behind `own_ahead` jobs of the same owner, lane and class.
    fn place_behind(&self, job: &Queued, own_ahead: f64) -> Place {
        let class = aged(job.class, job.waited_s);
        let mine = self.group(&job.lane, job.class, job.tenant);
        let mut own_level =
            own_ahead - mine.map_or(0.0, |group| group.of_class_better_than(class)).min(own_ahead);
        let (mut jobs, mut units) = (own_ahead, own_ahead * mine.map_or(0.0, Waiting::mean_units));
        let mut others: HashMap<TenantId, Others> = HashMap::new();
        for group in self.waiting.iter().filter(|group| group.lane == job.lane) {
            let better = group.of_class_better_than(class);
            let level = group.of_class_at_least(class) - better;
            if group.tenant != job.tenant {
                let theirs = others.entry(group.tenant).or_default();
                theirs.better += better;
                theirs.level += level;
                theirs.jobs += group.jobs;
                theirs.units += group.units;
            } else if group.class != job.class {
                let level = level.min((group.waited_longer_than(job.waited_s) - better).max(0.0));
                own_level += level;
                jobs += better + level;
                units += (better + level) * group.mean_units();
            }
        }
        let turn = self.turn(&job.lane, job.tenant, job.waited_s);
        for (tenant, theirs) in others {
            let first = self.turn(&job.lane, tenant, 0.0).partial_cmp(&turn) == Some(Ordering::Less);
            let rounds = own_level + if first { 1.0 } else { 0.0 };
            let before = theirs.better + theirs.level.min(rounds);
            jobs += before;
            units += before * theirs.units / theirs.jobs.max(1.0);
        }
        Place { ahead: jobs.round() as u64, wait: self.wait(&job.lane, units) }
    }

    fn turn(&self, lane: &Lane, tenant: TenantId, waited_s: f64) -> Turn {
        let groups = || self.waiting.iter().filter(|group| group.tenant == tenant && group.lane == *lane);
        let oldest_s = groups().map(|group| group.oldest_s).reduce(f64::max).unwrap_or(waited_s);
        let leased_s_ago = groups().find_map(|group| group.leased_s_ago);
        Turn {
            running_units: self.running_of(tenant).units,
            since_lease_s: -leased_s_ago.unwrap_or(f64::INFINITY),
            since_submission_s: -oldest_s,
        }
    }

    /// How long `units` take that are ahead in a lane, by its pace and by how many run at once; running ones are
    /// half done on average.
    fn wait(&self, lane: &Lane, units: f64) -> Option<Duration> {
        let pace = self.paces.get(lane)?;
        let running = || self.running.iter().filter(|group| group.lane == *lane);
        let at_once: f64 = running().map(|group| group.jobs).sum();
        let half_done = running().map(|group| group.units).sum::<f64>() / 2.0;
        let serving = self.workers.iter().filter(|worker| worker.lanes.contains(lane)).count();
        let at_once = if at_once > 0.0 { at_once } else { serving as f64 };
        if at_once == 0.0 {
            return None;
        }
        Duration::try_from_secs_f64((units + half_done) * pace / at_once).ok()
    }
}

impl Waiting {
    fn mean_units(&self) -> f64 {
        self.units / self.jobs.max(1.0)
    }

    /// How many have waited for longer than this, as if they had come evenly.
    fn waited_longer_than(&self, seconds: f64) -> f64 {
        if seconds < self.newest_s {
            self.jobs
        } else if seconds >= self.oldest_s {
            0.0
        } else {
            self.jobs * (self.oldest_s - seconds) / (self.oldest_s - self.newest_s)
        }
    }

    /// How many have this class, or a better one, after having waited.
    fn of_class_at_least(&self, class: i16) -> f64 {
        match self.class.class() - class {
            ..=0 => self.jobs,
            1 => self.raised[0],
            _ => self.raised[1],
        }
    }

    /// How many have a better one. There is none above the first.
    fn of_class_better_than(&self, class: i16) -> f64 {
        if class == 0 { 0.0 } else { self.of_class_at_least(class - 1) }
    }
}

/// A job that is submitted now.
fn new(lane: &Lane, class: Priority, tenant: TenantId) -> Queued {
    let id = JobId::from_uuid(Uuid::max());
    Queued { id, lane: lane.clone(), class, tenant, waited_s: 0.0, own_ahead: 0, backing_off: false }
}

/// The class after so long a wait.
fn aged(class: Priority, waited_s: f64) -> i16 {
    let raised = (waited_s / Store::AGEING_SECONDS).floor().clamp(0.0, f64::from(class.class()));
    class.class() - raised as i16
}

impl Store {
    /// Jobs that are counted ahead of a job. Beyond that a place is an estimate of an estimate.
    pub const COUNTED_AHEAD: i64 = 1_000;

    /// Those of these jobs that are queued, whoever owns them: for callers that have checked the owner before.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn queued(&self, ids: &[JobId]) -> Result<Vec<Queued>, Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query!(
            r#"
            select j.id, j.lane, j.class, j.tenant_id, j.available_at > now() as "backing_off!",
                   extract(epoch from now() - j.created_at)::float8 as "waited_s!", ahead.jobs as "own_ahead!"
            from jobs j
            cross join lateral (
                select count(*) as jobs from (
                    select from jobs a
                    where a.state = 'queued' and a.lane = j.lane and a.class = j.class
                      and a.tenant_id = j.tenant_id and a.id < j.id
                    limit $2
                ) counted
            ) ahead
            where j.id = any($1) and j.state = 'queued'
            "#,
            &uuids,
            Self::COUNTED_AHEAD
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let at = At { table: "jobs", id: row.id };
                let class = Priority::from_class(row.class);
                Ok(Queued {
                    id: JobId::from_uuid(row.id),
                    lane: at.word("lane", &row.lane)?,
                    class: class.ok_or_else(|| {
                        Error::bad_row("jobs", "class", row.id, format!("{} is no class", row.class))
                    })?,
                    tenant: TenantId::from_uuid(row.tenant_id),
                    waited_s: row.waited_s,
                    own_ahead: row.own_ahead,
                    backing_off: row.backing_off,
                })
            })
            .collect()
    }
}
