//! The sweeper: what is past its retention, and what nothing names, is deleted. Objects go first and rows after,
//! so that an interrupted round is simply repeated.

mod orphans;

use std::time::Duration;

use anyhow::Context;
use darkroom_blobs::{Blobs, attempt_prefix, file_key, input_key, job_prefix};
use darkroom_store::Store;
use tokio_util::sync::CancellationToken;

use crate::rhythm::Rhythm;
use orphans::Walks;

const BATCH: i64 = 200;
const PAGE: usize = 1_000;

pub(crate) struct Sweeper {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) period: Duration,
    pub(crate) grace: Duration,
}

impl Sweeper {
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut rhythm = Rhythm::new("sweeper", self.period);
        let mut walks = Walks::default();
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                round = self.round(&mut walks) => round,
            };
            rhythm.note(round.map_err(|error| format!("{error:#}")));
            if !rhythm.wait(&stop).await {
                return Ok(());
            }
        }
    }

    /// One step's failure does not keep the others from their turn.
    async fn round(&self, walks: &mut Walks) -> anyhow::Result<()> {
        let jobs = self.sweep_jobs().await.context("failed to sweep jobs");
        let attempts = self.sweep_attempts().await.context("failed to sweep attempts");
        let files = self.sweep_files().await.context("failed to sweep files");
        let orphans = self.sweep_orphans(walks).await.context("failed to sweep orphans");
        let rows = self.delete_rows().await.context("failed to delete rows");
        let (jobs, objects, rows) = (jobs?, attempts? + files? + orphans?, rows?);
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
        deleted += self.store.forget_previews().await? + self.store.forget_batches().await?;
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

    /// Deletes the objects of files that are deleted, or whose time is over, and that no job names.
    async fn sweep_files(&self) -> anyhow::Result<u64> {
        self.store.expire_files().await?;
        let mut deleted = 0;
        loop {
            let files = self.store.files_to_sweep(BATCH).await?;
            if files.is_empty() {
                return Ok(deleted);
            }
            let keys: Vec<String> = files.iter().map(file_key).collect();
            self.blobs.delete(&keys).await?;
            self.store.forget_files(&files).await?;
            deleted += files.len() as u64;
        }
    }
}
