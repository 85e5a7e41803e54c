//! Leasing: which job a worker gets next. The one definition of order.

use std::time::Duration;

use darkroom_jobs::{JobId, Lane, LeaseToken, Task, TenantId, WorkerId};
use serde::Deserialize;
use serde_json::Value;

use crate::rows::At;
use crate::{Error, Store};

/// The right of one worker to one attempt. Every write by the worker names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Number of the attempt.
    pub attempt: i32,
    /// The secret that fences writes.
    pub token: LeaseToken,
}

/// A worker's question for work.
#[derive(Debug, Clone)]
pub struct LeaseRequest<'a> {
    /// Who asks.
    pub worker: WorkerId,
    /// Made by the worker, so that it can find the attempt if the answer is lost.
    pub token: LeaseToken,
    /// Every lane it serves.
    pub lanes: &'a [Lane],
    /// Lanes whose model it has in memory.
    pub loaded: &'a [Lane],
}

/// A leased job, with all that is needed to run it.
#[derive(Debug, Clone)]
pub struct LeasedJob {
    /// The lease.
    pub lease: Lease,
    /// The job's owner.
    pub tenant: TenantId,
    /// The job's lane.
    pub lane: Lane,
    /// What to run.
    pub task: Task,
    /// Attempts that failed or were lost before.
    pub failures: u16,
    /// Failures after which the job fails for good.
    pub max_attempts: u16,
    /// Results that earlier attempts stored, by index.
    pub done: Vec<u32>,
    /// Time from submission to this lease, in seconds.
    pub waited_s: f64,
    /// W3C trace context of the submission.
    pub traceparent: Option<String>,
    /// Whether somebody looks on, as [`Store::watched_jobs`] tells later.
    pub watched: bool,
}

/// What became of one question for work.
enum Tried {
    Leased(Box<LeasedJob>),
    /// Nothing was free, but a tenant with a limit has a job that could be leased if nobody else is just doing so.
    Contended,
    Nothing,
}

impl Store {
    /// Waiting this long raises a job by one priority class.
    pub(crate) const AGEING_SECONDS: f64 = 300.0;
    /// A job that waits this long for a model that is not loaded goes before jobs of loaded models.
    const AFFINITY_SECONDS: f64 = 15.0;
    /// Questions in a row while other workers hold what could be leased.
    const TRIES: u32 = 4;
    /// Pause between two of them: a lease takes a few milliseconds.
    const TRY_PAUSE: Duration = Duration::from_millis(5);

    /// Leases the best queued job of all the lanes, if there is one:
    ///
    /// 1. loaded models first, unless another lane's head has waited for [`Self::AFFINITY_SECONDS`];
    /// 2. the best priority class, raised by one for every [`Self::AGEING_SECONDS`] of waiting;
    /// 3. the tenant with the fewest running units; among equals the one least recently leased in that lane;
    /// 4. first in, first out.
    ///
    /// A recursive skip scan over `jobs_queued` visits one row per (lane, class, tenant), however many jobs wait.
    /// Paused lanes are left out, and tenants that run as many jobs as they may.
    ///
    /// # Errors
    /// When the database is unavailable; [`Self::find_lease`] tells whether the lease was granted all the same.
    pub async fn lease(&self, request: &LeaseRequest<'_>) -> Result<Option<LeasedJob>, Error> {
        let mut tries = Self::TRIES;
        loop {
            tries -= 1;
            match self.try_lease(request).await? {
                Tried::Leased(job) => {
                    self.pending.job(job.lease.job);
                    return Ok(Some(*job));
                }
                Tried::Contended if tries > 0 => tokio::time::sleep(Self::TRY_PAUSE).await,
                Tried::Contended | Tried::Nothing => return Ok(None),
            }
        }
    }

    /// Never more than `max_running` jobs of a tenant run, however many workers ask at once: whoever leases a job of
    /// a tenant with a limit holds the tenant's row until the commit, and counts what runs after it has it. Nobody
    /// waits for that row: others take another tenant's job, or find that they have to ask again.
    async fn try_lease(&self, request: &LeaseRequest<'_>) -> Result<Tried, Error> {
        let lanes: Vec<String> = request.lanes.iter().map(Lane::to_string).collect();
        let loaded: Vec<String> = request.loaded.iter().map(Lane::to_string).collect();
        let row = sqlx::query!(
            r#"
            with recursive heads (lane, class, tenant_id) as (
                select l.lane, h.class, h.tenant_id
                from unnest($3::text[]) as l (lane)
                cross join lateral (
                    select class, tenant_id from jobs
                    where state = 'queued' and lane = l.lane
                    order by class, tenant_id limit 1
                ) h
                where not exists (select from lanes where lane = l.lane and paused_at is not null)
                union all
                select p.lane, h.class, h.tenant_id
                from heads p
                cross join lateral (
                    select class, tenant_id from jobs
                    where state = 'queued' and lane = p.lane and (class, tenant_id) > (p.class, p.tenant_id)
                    order by class, tenant_id limit 1
                ) h
            ), running (tenant_id, units, jobs) as (
                select tenant_id, sum(units), count(*) from jobs where state = 'running' group by tenant_id
            ), ranked as (
                select h.lane, h.class, h.tenant_id, t.max_running
                from heads h
                join tenants t on t.id = h.tenant_id
                cross join lateral (
                    select id, extract(epoch from now() - created_at) as waited from jobs
                    where state = 'queued' and lane = h.lane and class = h.class and tenant_id = h.tenant_id
                      and available_at <= now() and deadline > now()
                      and (avoid_worker is distinct from $1 or avoid_until <= now())
                    order by id limit 1
                ) first
                left join running r on r.tenant_id = h.tenant_id
                left join lateral (
                    select leased_at from attempts
                    where lane = h.lane and tenant_id = h.tenant_id
                    order by leased_at desc limit 1
                ) latest on true
                where t.max_running is null or coalesce(r.jobs, 0) < t.max_running
                order by not (h.lane = any($4::text[]) or first.waited > $7),
                         greatest(h.class - floor(first.waited / $6), 0),
                         coalesce(r.units, 0),
                         latest.leased_at nulls first,
                         not h.lane = any($4::text[]),
                         first.id
            ), pick as (
                -- Lazily, in order of rank: the first head that no other worker is taking at this moment.
                select j.id from ranked r
                cross join lateral (
                    select r.tenant_id as id where r.max_running is null
                    union all
                    -- What a statement reads is as old as the statement: the count under the lock is a function's,
                    -- which reads anew. The offset keeps the planner from counting first.
                    select t.id from (
                        select id, max_running from tenants where id = r.tenant_id and r.max_running is not null
                        offset 0 for no key update skip locked
                    ) t
                    where t.max_running is null or running_jobs(t.id) < t.max_running
                ) allowed
                cross join lateral (
                    select id from jobs
                    where state = 'queued' and lane = r.lane and class = r.class and tenant_id = allowed.id
                      and available_at <= now() and deadline > now()
                      and (avoid_worker is distinct from $1 or avoid_until <= now())
                    order by id limit 1
                    for update skip locked
                ) j
                limit 1
            ), leased as (
                update jobs j
                set state = 'running', version = version + 1, attempt = attempt + 1, lease_token = $2,
                    started_at = coalesce(started_at, now())
                from pick where j.id = pick.id and j.state = 'queued'
                returning j.id, j.attempt, j.lane, j.tenant_id, j.failures, j.max_attempts, j.created_at
            ), attempt as (
                insert into attempts (job_id, number, worker_id, lane, tenant_id, lease_token, lease_expires_at)
                select id, attempt, $1, lane, tenant_id, $2, now() + $5 * interval '1 second' from leased
            )
            select (select jsonb_build_object('id', j.id, 'tenant_id', j.tenant_id, 'lane', j.lane, 'attempt', j.attempt,
                                              'failures', j.failures, 'max_attempts', j.max_attempts, 'task', r.task,
                                              'traceparent', r.traceparent,
                                              'waited_s', extract(epoch from now() - j.created_at),
                                              'done', array(select index from artifacts where job_id = j.id order by index),
                                              'watched', exists(select from job_watchers
                                                                where job_id = j.id and watched_until > now()))
                    from leased j join job_requests r on r.job_id = j.id) as job,
                   exists (select from ranked where max_running is not null) as "limited!"
            "#,
            request.worker.as_uuid(),
            request.token.as_uuid(),
            &lanes,
            &loaded,
            self.lease.as_secs_f64(),
            Self::AGEING_SECONDS as _,
            Self::AFFINITY_SECONDS as _
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(match row.job {
            Some(job) => Tried::Leased(Box::new(leased(job, request.token)?)),
            None if row.limited => Tried::Contended,
            None => Tried::Nothing,
        })
    }

    /// The job held under this token; `None` when the lease was never granted or is gone.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn find_lease(&self, token: LeaseToken) -> Result<Option<LeasedJob>, Error> {
        let row = sqlx::query!(
            r#"select jsonb_build_object('id', j.id, 'tenant_id', j.tenant_id, 'lane', j.lane, 'attempt', j.attempt,
                                         'failures', j.failures, 'max_attempts', j.max_attempts, 'task', r.task,
                                         'traceparent', r.traceparent,
                                         'waited_s', extract(epoch from a.leased_at - j.created_at),
                                         'done', array(select index from artifacts where job_id = j.id order by index),
                                         'watched', exists(select from job_watchers
                                                           where job_id = j.id and watched_until > now()))
                      as "job!"
               from attempts a
               join jobs j on j.id = a.job_id and j.lease_token = a.lease_token
               join job_requests r on r.job_id = j.id
               where a.lease_token = $1 and a.state = 'running'"#,
            token.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| leased(row.job, token)).transpose()
    }
}

/// What the two statements above tell of a job.
#[derive(Deserialize)]
struct LeasedRow {
    id: JobId,
    tenant_id: TenantId,
    lane: String,
    attempt: i32,
    failures: u16,
    max_attempts: u16,
    task: Value,
    traceparent: Option<String>,
    waited_s: f64,
    done: Vec<u32>,
    watched: bool,
}

fn leased(row: Value, token: LeaseToken) -> Result<LeasedJob, Error> {
    let id = row["id"].to_string();
    let row: LeasedRow = At { table: "jobs", id: &*id }.json("attempt", row)?;
    let at = At { table: "jobs", id: row.id };
    Ok(LeasedJob {
        lease: Lease { job: row.id, attempt: row.attempt, token },
        tenant: row.tenant_id,
        lane: at.word("lane", &row.lane)?,
        task: at.json("task", row.task)?,
        failures: row.failures,
        max_attempts: row.max_attempts,
        done: row.done,
        waited_s: row.waited_s,
        traceparent: row.traceparent,
        watched: row.watched,
    })
}
