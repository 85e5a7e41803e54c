//! The backlog: what waits and what runs at a moment, by lane, class and tenant. Positions, estimates of waits,
//! reasons why a job waits and admission go by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use darkroom_jobs::{Lane, Priority, TenantId};
use rust_decimal::Decimal;

use crate::rows::At;
use crate::{Error, NewJob, Store, Worker};

/// What waits and what runs, as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) running: Vec<Running>,
    pub(crate) limits: HashMap<TenantId, Limits>,
    pub(crate) paused: BTreeSet<Lane>,
    /// Seconds of a lease that one unit takes, by lane.
    pub(crate) paces: BTreeMap<Lane, f64>,
    /// Workers seen lately.
    pub(crate) workers: Vec<Worker>,
}

/// Queued jobs of one tenant, lane and class.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) lane: Lane,
    pub(crate) class: Priority,
    pub(crate) tenant: TenantId,
    pub(crate) jobs: f64,
    pub(crate) units: f64,
    pub(crate) price: Decimal,
    /// How long the first and the last of them have waited.
    pub(crate) oldest_s: f64,
    pub(crate) newest_s: f64,
    /// How many of them have waited for long enough to be raised by at least one class, and by two.
    pub(crate) raised: [f64; 2],
    /// How long ago a job of this tenant was last leased in this lane.
    pub(crate) leased_s_ago: Option<f64>,
}

/// Running jobs of one tenant and lane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Running {
    pub(crate) lane: Lane,
    pub(crate) tenant: TenantId,
    pub(crate) jobs: f64,
    pub(crate) units: f64,
    pub(crate) price: Decimal,
}

/// What a tenant may have at once; `None` for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most queued jobs.
    pub max_queued: Option<i32>,
    /// Most running jobs.
    pub max_running: Option<i32>,
    /// Most that the jobs of one UTC day may cost.
    pub max_daily_cost: Option<Decimal>,
}

/// What waits and what runs in one lane.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LaneLoad {
    /// Queued jobs.
    pub queued: Tally,
    /// Running jobs.
    pub running: Tally,
    /// How long the first of the queued ones has waited, in seconds.
    pub oldest_s: f64,
}

/// A number of jobs, and what they are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// How many.
    pub jobs: f64,
    /// Their billed pixels.
    pub units: f64,
    /// What they cost if they succeed.
    pub price: Decimal,
}

impl Backlog {
    /// What a tenant may have at once.
    pub fn limits(&self, tenant: TenantId) -> Limits {
        self.limits.get(&tenant).copied().unwrap_or_default()
    }

    /// Every queued job.
    pub fn queued(&self) -> Tally {
        self.waiting.iter().map(Waiting::tally).sum()
    }

    /// Every lane in which something waits or runs.
    pub fn by_lane(&self) -> BTreeMap<&Lane, LaneLoad> {
        let mut lanes: BTreeMap<&Lane, LaneLoad> = BTreeMap::new();
        for group in &self.waiting {
            let load = lanes.entry(&group.lane).or_default();
            load.queued += group.tally();
            load.oldest_s = load.oldest_s.max(group.oldest_s);
        }
        for group in &self.running {
            lanes.entry(&group.lane).or_default().running += group.tally();
        }
        lanes
    }

    /// A tenant's queued jobs.
    pub fn queued_of(&self, tenant: TenantId) -> Tally {
        self.waiting.iter().filter(|group| group.tenant == tenant).map(Waiting::tally).sum()
    }

    /// A tenant's running jobs.
    pub fn running_of(&self, tenant: TenantId) -> Tally {
        self.running.iter().filter(|group| group.tenant == tenant).map(Running::tally).sum()
    }

    /// How many tenants have a job in the queue.
    pub fn tenants(&self) -> usize {
        self.waiting.iter().map(|group| group.tenant).collect::<BTreeSet<_>>().len()
    }

    /// How long the first of a tenant's jobs of this lane and class has waited.
    pub fn oldest_s(&self, lane: &Lane, class: Priority, tenant: TenantId) -> Option<f64> {
        self.group(lane, class, tenant).map(|group| group.oldest_s)
    }

    /// Counts a job that was accepted since.
    pub fn add(&mut self, job: &NewJob) {
        let (lane, class) = (&job.submission.lane, job.submission.options.priority);
        let same =
            |group: &&mut Waiting| group.tenant == job.tenant && group.class == class && group.lane == *lane;
        if let Some(group) = self.waiting.iter_mut().find(same) {
            group.jobs += 1.0;
            group.units += job.units() as f64;
            group.price += job.price;
            group.newest_s = 0.0;
            return;
        }
        let leased_s_ago =
            self.waiting.iter().find(|group| group.tenant == job.tenant && group.lane == *lane);
        self.waiting.push(Waiting {
            lane: lane.clone(),
            class,
            tenant: job.tenant,
            jobs: 1.0,
            units: job.units() as f64,
            price: job.price,
            oldest_s: 0.0,
            newest_s: 0.0,
            raised: [0.0; 2],
            leased_s_ago: leased_s_ago.and_then(|group| group.leased_s_ago),
        });
    }

    pub(crate) fn group(&self, lane: &Lane, class: Priority, tenant: TenantId) -> Option<&Waiting> {
        self.waiting
            .iter()
            .find(|group| group.tenant == tenant && group.class == class && group.lane == *lane)
    }
}

impl Waiting {
    fn tally(&self) -> Tally {
        Tally { jobs: self.jobs, units: self.units, price: self.price }
    }
}

impl Running {
    fn tally(&self) -> Tally {
        Tally { jobs: self.jobs, units: self.units, price: self.price }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.units += other.units;
        self.price += other.price;
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        let mut sum = Self::default();
        tallies.for_each(|tally| sum += tally);
        sum
    }
}

impl Store {
    /// Runs of a lane that its pace is measured from, and how old they may be.
    const PACE_RUNS: i64 = 50;
    const PACE_SECONDS: f64 = 600.0;

    /// What waits and what runs. Reads every queued job once: 45 ms with 100,000 of them, so ask once a second and
    /// no more often.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        let waiting = self.waiting().await?;
        let running = self.running().await?;
        let workers = self.workers().await?;
        // Lanes in which nothing waits as well: a job that is about to be submitted may ask.
        let served = workers.iter().flat_map(|worker| &worker.lanes);
        let lanes: BTreeSet<&Lane> = waiting.iter().map(|group| &group.lane).chain(served).collect();
        let paces = self.paces(lanes).await?;
        Ok(Backlog {
            limits: self.limits().await?,
            paused: self.paused_lanes().await?,
            workers,
            waiting,
            running,
            paces,
        })
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, Error> {
        let rows = sqlx::query!(
            r#"
            with waiting as (
                select lane, class, tenant_id, count(*) as jobs, sum(units) as units, sum(price) as price,
                       min(created_at) as oldest, max(created_at) as newest,
                       count(*) filter (where created_at <= now() - $1 * interval '1 second') as raised,
                       count(*) filter (where created_at <= now() - 2 * $1 * interval '1 second') as raised_twice
                from jobs where state = 'queued' group by lane, class, tenant_id
            )
            select w.lane, w.class, w.tenant_id, w.jobs::float8 as "jobs!", w.units::float8 as "units!",
                   w.price as "price!", extract(epoch from now() - w.oldest)::float8 as "oldest_s!",
                   extract(epoch from now() - w.newest)::float8 as "newest_s!",
                   w.raised::float8 as "raised!", w.raised_twice::float8 as "raised_twice!",
                   extract(epoch from now() - latest.leased_at)::float8 as leased_s_ago
            from waiting w
            left join lateral (
                select leased_at from attempts
                where lane = w.lane and tenant_id = w.tenant_id
                order by leased_at desc limit 1
            ) latest on true
            "#,
            Self::AGEING_SECONDS
        )
        .fetch_all(&self.pool)
        .await?;
        // A lane of a newer release is nobody's business here.
        let groups = rows.into_iter().filter_map(|row| {
            Some(Waiting {
                lane: row.lane.parse().ok()?,
                class: Priority::from_class(row.class)?,
                tenant: TenantId::from_uuid(row.tenant_id),
                jobs: row.jobs,
                units: row.units,
                price: row.price,
                oldest_s: row.oldest_s,
                newest_s: row.newest_s,
                raised: [row.raised, row.raised_twice],
                leased_s_ago: row.leased_s_ago,
            })
        });
        Ok(groups.collect())
    }

    async fn running(&self) -> Result<Vec<Running>, Error> {
        let rows = sqlx::query!(
            r#"select lane, tenant_id, count(*)::float8 as "jobs!", sum(units)::float8 as "units!",
                      sum(price) as "price!"
               from jobs where state = 'running' group by lane, tenant_id"#
        )
        .fetch_all(&self.pool)
        .await?;
        let groups = rows.into_iter().filter_map(|row| {
            Some(Running {
                lane: row.lane.parse().ok()?,
                tenant: TenantId::from_uuid(row.tenant_id),
                jobs: row.jobs,
                units: row.units,
                price: row.price,
            })
        });
        Ok(groups.collect())
    }

    /// The time from lease to success of one unit, over the latest runs of each lane; nothing for a lane without any.
    async fn paces(&self, lanes: BTreeSet<&Lane>) -> Result<BTreeMap<Lane, f64>, Error> {
        let lanes: Vec<String> = lanes.into_iter().map(Lane::to_string).collect();
        let rows = sqlx::query!(
            r#"
            select l.lane as "lane!",
                   (sum(extract(epoch from a.finished_at - a.leased_at)) / sum(j.units))::float8 as "pace!"
            from unnest($1::text[]) as l (lane)
            cross join lateral (
                select job_id, leased_at, finished_at from attempts
                where lane = l.lane and state = 'succeeded' and finished_at > now() - $2 * interval '1 second'
                order by finished_at desc limit $3
            ) a
            join jobs j on j.id = a.job_id
            group by l.lane
            "#,
            &lanes,
            Self::PACE_SECONDS,
            Self::PACE_RUNS
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|row| Some((row.lane.parse().ok()?, row.pace))).collect())
    }

    async fn limits(&self) -> Result<HashMap<TenantId, Limits>, Error> {
        let rows = sqlx::query!(
            "select id, max_queued, max_running, max_daily_cost from tenants
             where max_queued is not null or max_running is not null or max_daily_cost is not null"
        )
        .fetch_all(&self.pool)
        .await?;
        let limits = rows.into_iter().map(|row| {
            let limits = Limits {
                max_queued: row.max_queued,
                max_running: row.max_running,
                max_daily_cost: row.max_daily_cost,
            };
            (TenantId::from_uuid(row.id), limits)
        });
        Ok(limits.collect())
    }

    async fn paused_lanes(&self) -> Result<BTreeSet<Lane>, Error> {
        let lanes = sqlx::query_scalar!("select lane from lanes where paused_at is not null")
            .fetch_all(&self.pool)
            .await?;
        lanes.iter().map(|lane| At { table: "lanes", id: lane }.word("lane", lane)).collect()
    }
}
