//! Lanes as operators see them, and what they decide about them.

use chrono::{DateTime, Utc};
use darkroom_jobs::Lane;

use crate::rows::At;
use crate::{Error, Store};

/// How a lane stands.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneStatus {
    /// The lane.
    pub lane: Lane,
    /// Since when none of its jobs is leased; `None` while it is open.
    pub paused_at: Option<DateTime<Utc>>,
    /// Why it is paused.
    pub reason: Option<String>,
    /// Jobs that wait, by priority class: interactive, normal, background.
    pub queued: [u64; 3],
    /// Those of them that wait for the end of a backoff.
    pub delayed: u64,
    /// Jobs that run.
    pub running: u64,
    /// How long the job that was accepted first has waited, in seconds; `None` when none waits.
    pub oldest_wait_s: Option<f64>,
    /// Jobs that succeeded in the last [`Store::RATE_SECONDS`], a minute.
    pub succeeded_per_minute: f64,
    /// Workers that were seen lately and serve it.
    pub workers: u64,
    /// Those of them that have its model in memory.
    pub loaded: u64,
}

impl Store {
    /// The time over which the rate of a lane is measured.
    pub const RATE_SECONDS: f64 = 300.0;
    /// Most tickets that a lane gets when it is opened again: more would find no slot.
    const WAKE_TICKETS: i64 = 100;

    /// Every lane that is known: those of `catalog`, and those with a decision, unfinished jobs or workers.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn lanes(&self, catalog: &[Lane]) -> Result<Vec<LaneStatus>, Error> {
        let catalog: Vec<String> = catalog.iter().map(Lane::to_string).collect();
        let rows = sqlx::query!(
            r#"
            with waiting as (
                select lane, count(*) filter (where class = 0) as interactive,
                       count(*) filter (where class = 1) as normal, count(*) filter (where class = 2) as background,
                       count(*) filter (where available_at > now()) as delayed, min(created_at) as oldest
                from jobs where state = 'queued' group by lane
            ), running as (
                select lane, count(*) as jobs from jobs where state = 'running' group by lane
            ), serving as (
                select l.lane, count(*) as workers, count(*) filter (where l.lane = any(w.loaded)) as loaded
                from workers w cross join lateral unnest(w.lanes) as l (lane)
                where w.last_seen_at > now() - $2 * interval '1 second' group by l.lane
            ), known (lane) as (
                select unnest($1::text[]) union select lane from lanes union select lane from waiting
                union select lane from running union select lane from serving
            )
            select k.lane as "lane!", l.paused_at as "paused_at?", l.reason as "reason?",
                   coalesce(w.interactive, 0) as "interactive!", coalesce(w.normal, 0) as "normal!",
                   coalesce(w.background, 0) as "background!", coalesce(w.delayed, 0) as "delayed!",
                   coalesce(r.jobs, 0) as "running!",
                   case when w.oldest is not null then greatest(extract(epoch from now() - w.oldest), 0) end::float8
                       as "oldest_wait_s?",
                   coalesce(s.workers, 0) as "workers!", coalesce(s.loaded, 0) as "loaded!",
                   (select count(*) from attempts a
                    where a.lane = k.lane and a.state = 'succeeded'
                      and a.finished_at > now() - $3 * interval '1 second') as "succeeded!"
            from known k
            left join lanes l on l.lane = k.lane
            left join waiting w on w.lane = k.lane
            left join running r on r.lane = k.lane
            left join serving s on s.lane = k.lane
            order by k.lane collate "C"
            "#,
            &catalog,
            Self::SEEN_SECONDS,
            Self::RATE_SECONDS
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let at = At { table: "lanes", id: &row.lane };
                let number = |column, number: i64| at.integer(column, number);
                Ok(LaneStatus {
                    lane: at.word("lane", &row.lane)?,
                    paused_at: row.paused_at,
                    reason: row.reason,
                    queued: [
                        number("queued", row.interactive)?,
                        number("queued", row.normal)?,
                        number("queued", row.background)?,
                    ],
                    delayed: number("queued", row.delayed)?,
                    running: number("running", row.running)?,
                    oldest_wait_s: row.oldest_wait_s,
                    succeeded_per_minute: number("succeeded", row.succeeded)? as f64 * 60.0
                        / Self::RATE_SECONDS,
                    workers: number("workers", row.workers)?,
                    loaded: number("workers", row.loaded)?,
                })
            })
            .collect()
    }

    /// Pauses a lane: none of its jobs is leased until it is opened again; those that run go on. A lane that is
    /// paused already keeps its time and gets the reason.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn pause_lane(&self, lane: &Lane, reason: Option<&str>) -> Result<(), Error> {
        sqlx::query!(
            "insert into lanes (lane, paused_at, reason) values ($1, now(), $2)
             on conflict (lane) do update
             set paused_at = coalesce(lanes.paused_at, excluded.paused_at), reason = excluded.reason",
            lane.to_string(),
            reason
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Opens a paused lane, and writes tickets for jobs that wait there: theirs have been used up meanwhile. `false`
    /// when it was open.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn resume_lane(&self, lane: &Lane) -> Result<bool, Error> {
        let opened = sqlx::query_scalar!(
            r#"
            with opened as (
                update lanes set paused_at = null, reason = null where lane = $1 and paused_at is not null
                returning lane
            ), ticket as (
                insert into outbox (lane)
                select lane from (select lane from jobs where state = 'queued' and lane = $1 limit $2) waiting
                where exists (select from opened)
            )
            select lane from opened
            "#,
            lane.to_string(),
            Self::WAKE_TICKETS
        )
        .fetch_optional(&self.pool)
        .await?;
        if opened.is_some() {
            self.pending.outbox();
        }
        Ok(opened.is_some())
    }
}
