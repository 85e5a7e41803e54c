//! The sweeper: what is past its retention, and what nothing names, is deleted. Objects go first and rows after,
//! so that an interrupted round is simply repeated.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use darkroom_blobs::{Blobs, INPUT_PREFIX, ObjectInfo, attempt_prefix, input_key, job_prefix};
use darkroom_jobs::JobId;
use darkroom_store::Store;
use tokio_util::sync::CancellationToken;

use crate::rhythm::Rhythm;

const BATCH: i64 = 200;
const PAGE: usize = 1_000;
/// An input this old whose job does not exist belongs to a request that was never accepted. Long, because it
/// compares the clocks of two machines.
const ORPHAN_AGE: TimeDelta = TimeDelta::hours(24);

pub(crate) struct Sweeper {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) period: Duration,
    pub(crate) grace: Duration,
}

impl Sweeper {
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut rhythm = Rhythm::new("sweeper", self.period);
        let mut inputs = InputWalk::default();
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                round = self.round(&mut inputs) => round,
            };
            rhythm.note(round.map_err(|error| format!("{error:#}")));
            if !rhythm.wait(&stop).await {
                return Ok(());
            }
        }
    }

    /// One step's failure does not keep the others from their turn.
    async fn round(&self, walk: &mut InputWalk) -> anyhow::Result<()> {
        let jobs = self.sweep_jobs().await.context("failed to sweep jobs");
        let attempts = self.sweep_attempts().await.context("failed to sweep attempts");
        let inputs = self.sweep_inputs(walk).await.context("failed to sweep inputs");
        let rows = self.delete_rows().await.context("failed to delete rows");
        let (jobs, objects, rows) = (jobs?, attempts? + inputs?, rows?);
        metrics::counter!("darkroom_swept_jobs_total").increment(jobs);
        metrics::counter!("darkroom_swept_objects_total").increment(objects);
        if jobs + objects + rows > 0 {
            tracing::info!(jobs, objects, rows, "swept");
        }
        Ok(())
    }

    async fn delete_rows(&self) -> anyhow::Result<u64> {
        self.store.forget_workers().await?;
        let mut deleted = self.store.forget_webhooks().await? + self.store.forget_unanswered().await?;
        deleted += self.store.forget_previews().await?;
        loop {
            let given_up = self.store.give_up_deliveries(BATCH).await?;
            let deliveries = self.store.delete_deliveries(BATCH).await?;
            let jobs = self.store.delete_swept_jobs(BATCH).await?;
            let unused = self.store.forget_unused_webhooks(BATCH).await?;
            deleted += deliveries + jobs + unused;
            let full = |rows: u64| i64::try_from(rows).is_ok_and(|rows| rows >= BATCH);
            if ![given_up, deliveries, jobs, unused].into_iter().any(full) {
                return Ok(deleted);
            }
        }
    }

    /// Deletes the objects of jobs that are deleted or past their retention.
    async fn sweep_jobs(&self) -> anyhow::Result<u64> {
        let mut swept = 0;
        loop {
            let jobs = self.store.jobs_to_sweep(self.grace.as_secs_f64(), BATCH).await?;
            if jobs.is_empty() {
                return Ok(swept);
            }
            for job in jobs {
                self.blobs.delete_prefix(&job_prefix(job)).await?;
                self.blobs.delete(&[input_key(job)]).await?;
                self.store.mark_swept(job).await?;
                swept += 1;
            }
        }
    }

    /// Deletes objects of closed attempts that no artifact names.
    async fn sweep_attempts(&self) -> anyhow::Result<u64> {
        let mut deleted = 0;
        loop {
            let attempts = self.store.attempts_to_sweep(self.grace.as_secs_f64(), BATCH).await?;
            if attempts.is_empty() {
                return Ok(deleted);
            }
            for attempt in attempts {
                let prefix = attempt_prefix(attempt.job, attempt.attempt);
                let objects = self.blobs.list(&prefix, None, PAGE).await?;
                let keys: Vec<String> = objects
                    .into_iter()
                    .map(|object| object.key)
                    .filter(|key| !attempt.named.contains(key))
                    .collect();
                self.blobs.delete(&keys).await?;
                deleted += keys.len() as u64;
                self.store.mark_attempt_swept(attempt.job, attempt.attempt).await?;
            }
        }
    }

    /// Deletes inputs whose job was never accepted, going on where the last round stopped, and the parts of
    /// uploads that were never ended.
    async fn sweep_inputs(&self, walk: &mut InputWalk) -> anyhow::Result<u64> {
        let mut deleted = 0;
        let old = self.store.now().await? - ORPHAN_AGE;
        self.blobs.abort_uploads(INPUT_PREFIX, old).await?;
        loop {
            let page = self.blobs.list(INPUT_PREFIX, walk.after.as_deref(), PAGE).await?;
            let (mut keys, mut ids) = (Vec::new(), Vec::new());
            for object in page.iter().take_while(|object| object.last_modified < old) {
                if let Some(id) = job_of(object) {
                    keys.push((id, object.key.clone()));
                    ids.push(id);
                }
                walk.after = Some(object.key.clone());
            }
            let known: HashSet<JobId> = self.store.existing_jobs(&ids).await?.into_iter().collect();
            let orphans: Vec<String> =
                keys.into_iter().filter(|(id, _)| !known.contains(id)).map(|(_, key)| key).collect();
            self.blobs.delete(&orphans).await?;
            deleted += orphans.len() as u64;
            if page.last().is_none_or(|last| walk.after.as_ref() != Some(&last.key)) {
                return Ok(deleted);
            }
        }
    }
}

/// How far inputs were looked through. Keys sort by time, so a round goes on where the last one stopped; a new
/// process begins again.
#[derive(Default)]
struct InputWalk {
    after: Option<String>,
}

fn job_of(object: &ObjectInfo) -> Option<JobId> {
    object.key.strip_prefix(INPUT_PREFIX)?.parse().ok()
}
