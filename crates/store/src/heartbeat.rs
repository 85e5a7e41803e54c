//! Heartbeats: extending leases and hearing that they are gone.

use std::time::Duration;

use darkroom_jobs::{JobId, JobState};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Error, Lease, Progress, Store};

/// What a worker says about one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    /// The lease to extend.
    pub lease: Lease,
    /// How far the attempt is; `None` leaves what was said before.
    pub progress: Option<Progress>,
}

/// What a worker hears about one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// The lease holds, and was extended.
    Held,
    /// The job was canceled or has expired: stop.
    Ended,
    /// The attempt was taken for lost: stop.
    Lost,
}

impl Store {
    /// Least time between two messages about the progress of a job.
    const PROGRESS_PAUSE: Duration = Duration::from_millis(500);

    /// Extends leases, stores progress, and tells it to the jobs' webhooks that want to hear of it. An expired lease that
    /// nobody has taken back yet is extended too: the attempt's state fences, not the clock.
    ///
    /// # Errors
    /// When the database is unavailable; the leases then run on to their expiry.
    pub async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<(Lease, Pulse)>, Error> {
        let jobs: Vec<Uuid> = beats.iter().map(|beat| beat.lease.job.as_uuid()).collect();
        let tokens: Vec<Uuid> = beats.iter().map(|beat| beat.lease.token.as_uuid()).collect();
        let numbers: Vec<i32> = beats.iter().map(|beat| beat.lease.attempt).collect();
        let progress: Vec<Option<Json<Progress>>> =
            beats.iter().map(|beat| beat.progress.map(Json)).collect();
        let held: Vec<Uuid> = sqlx::query_scalar!(
            r#"
            with held as (
                -- In the order in which the reaper locks, so that the two cannot wait for each other.
                select a.job_id, a.number, b.progress, b.progress is distinct from a.progress as further
                from unnest($1::uuid[], $2::int[], $3::uuid[], $4::jsonb[]) as b (job_id, number, token, progress)
                join attempts a on a.job_id = b.job_id and a.number = b.number and a.lease_token = b.token
                where a.state = 'running'
                order by a.job_id
                for update of a
            ), told as (
                -- Best effort: whoever is yet to be told of progress, or was a moment ago, hears of it another time.
                insert into webhook_deliveries (id, webhook_id, job_id, event)
                select uuid_v7(), hook.webhook_id, hook.job_id, 'job.progress'
                from held h join job_webhooks hook on hook.job_id = h.job_id
                where h.progress is not null and h.further and 'job.progress' = any(hook.events)
                  and not exists (
                      select from webhook_deliveries d
                      where d.job_id = h.job_id and d.event = 'job.progress'
                        and (d.state = 'pending' or d.created_at > now() - $6 * interval '1 second')
                  )
            )
            update attempts a
            set lease_expires_at = now() + $5 * interval '1 second', progress = coalesce(h.progress, a.progress)
            from held h
            where a.job_id = h.job_id and a.number = h.number
            returning a.lease_token
            "#,
            &jobs,
            &numbers,
            &tokens,
            progress as _,
            self.lease.as_secs_f64(),
            Self::PROGRESS_PAUSE.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        let gone: Vec<JobId> = beats
            .iter()
            .map(|beat| beat.lease)
            .filter(|lease| !held.contains(&lease.token.as_uuid()))
            .map(|lease| lease.job)
            .collect();
        let ended = self.ended(&gone).await?;
        let pulse = |lease: Lease| {
            if held.contains(&lease.token.as_uuid()) {
                Pulse::Held
            } else if ended.contains(&lease.job) {
                Pulse::Ended
            } else {
                Pulse::Lost
            }
        };
        Ok(beats.iter().map(|beat| (beat.lease, pulse(beat.lease))).collect())
    }

    async fn ended(&self, jobs: &[JobId]) -> Result<Vec<JobId>, Error> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let versions = self.job_versions(jobs).await?;
        let ended = versions.iter().filter(|job| matches!(job.state, JobState::Canceled | JobState::Expired));
        Ok(ended.map(|job| job.id).collect())
    }
}
