//! Waiting for the jobs of a batch, and fetching their results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use darkroom_client::{BatchPage, Error, Job};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use uuid::Uuid;

use super::journal::Accepted;
use super::results::Ended;
use super::{AT_ONCE, Run, patiently};
use crate::save::{default_name, replace};

/// Most jobs of a page.
const PAGE: u32 = 100;
/// How often the service is asked how far its batches are, at most and at least.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN_AT_LAST: Duration = Duration::from_secs(10);

/// Whether there is no use in asking for a result again.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::Problem(_) | Error::Answer { .. }) && !error.passes()
}

impl Run<'_> {
    /// Looks at every batch until all of its jobs have ended and their results are here, and no more will come.
    pub(super) async fn watch_all(&self) -> anyhow::Result<()> {
        loop {
            // In this order, so that what is submitted last is seen.
            let last = self.submitted.load(Ordering::Relaxed);
            let (open, begun) = (self.open(), Instant::now());
            if open.is_empty() && last {
                return Ok(());
            }
            for batch in &open {
                self.look(batch).await?;
            }
            self.show();
            if open.is_empty() || !self.open().is_empty() {
                self.wait((begun.elapsed() * 4).clamp(LOOK_AGAIN, LOOK_AGAIN_AT_LAST)).await;
            }
        }
    }

    /// The batches with jobs that have not ended.
    pub(super) fn open(&self) -> Vec<Accepted> {
        let mut accepted = self.with_journal(|journal| journal.accepted.clone());
        self.with_lost(|lost| {
            for batch in &mut accepted {
                batch.open.retain(|_, line| !lost.contains_key(line));
            }
        });
        accepted.retain(|batch| !batch.open.is_empty());
        accepted
    }

    /// Fetches the results of the jobs that have ended since the last look.
    async fn look(&self, batch: &Accepted) -> anyhow::Result<()> {
        let Some(now) = self.page(batch, 1, None).await? else {
            for (job, line) in &batch.open {
                self.lose(*line, *job, format!("the service knows no batch {} with it", batch.batch));
            }
            return Ok(());
        };
        let count = |state: &str| now.batch.counts.get(state).copied().unwrap_or_default();
        let unfinished = usize::try_from(count("queued") + count("running"))?;
        match batch.open.len().saturating_sub(unfinished) {
            0 => Ok(()),
            news => self.fetch(batch, news).await,
        }
    }

    /// Goes through the jobs of a batch for so many that have ended, or are gone.
    async fn fetch(&self, batch: &Accepted, mut news: usize) -> anyhow::Result<()> {
        let mut missing: BTreeMap<Uuid, usize> = batch.open.clone();
        let mut cursor = None;
        loop {
            let Some(page) = self.page(batch, PAGE, cursor.as_deref()).await? else { return Ok(()) };
            let found = page.jobs.into_iter().filter_map(|job| Some((missing.remove(&job.id)?, job)));
            let ended: Vec<(usize, Job)> = found.filter(|(_, job)| job.state.is_final()).collect();
            let saving = ended.iter().map(|(line, job)| self.save(*line, job));
            let mut saved = stream::iter(saving).buffer_unordered(AT_ONCE).ready_chunks(AT_ONCE);
            while let Some(saved) = saved.next().await {
                let saved: Vec<Option<Ended>> = saved.into_iter().collect::<anyhow::Result<_>>()?;
                self.with_journal(|journal| journal.end(saved.into_iter().flatten().collect()))?;
                self.news.notify_waiters();
                self.show();
            }
            news = news.saturating_sub(ended.len());
            cursor = page.next_cursor;
            match (&cursor, news) {
                (None, _) => break,
                (Some(_), 0) => return Ok(()),
                (Some(_), _) => {}
            }
        }
        for (job, line) in missing {
            self.lose(line, job, "the job was deleted, or is past its retention".to_owned());
        }
        Ok(())
    }

    /// A page of a batch, if it is there.
    async fn page(
        &self,
        batch: &Accepted,
        limit: u32,
        cursor: Option<&str>,
    ) -> anyhow::Result<Option<BatchPage>> {
        let id = batch.batch;
        match patiently(async || self.session.client.batch(id, limit, cursor).await).await {
            Ok(page) => Ok(Some(page)),
            Err(error) if error.status() == Some(404) && error.code().is_some() => Ok(None),
            Err(error) => Err(error).with_context(|| format!("lost sight of batch {id}")),
        }
    }

    /// Saves the pictures of a job that is final, if they are to be had.
    async fn save(&self, line: usize, job: &Job) -> anyhow::Result<Option<Ended>> {
        let width = self.input.lines.keys().next_back().map_or(1, |last| last.to_string().len());
        let (mut files, mut taken) = (Vec::new(), BTreeSet::new());
        for artifact in job.artifacts.iter().filter(|artifact| artifact.text.is_none()) {
            let bytes = match patiently(async || self.session.client.fetch_artifact(artifact).await).await {
                Ok(bytes) => bytes,
                Err(error) if is_lost(&error) => {
                    self.lose(
                        line,
                        job.id,
                        format!("failed to fetch its result {}: {error}", artifact.index),
                    );
                    return Ok(None);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("line {line}: failed to fetch its results"));
                }
            };
            let mut name = format!("{line:0width$}-{}", default_name(job, artifact));
            if !taken.insert(name.clone()) {
                name = format!("{line:0width$}-{}-{}", artifact.index + 1, default_name(job, artifact));
            }
            let path = self.folder.join(&name);
            tokio::task::spawn_blocking(move || replace(&path, &bytes)).await??;
            files.push(name.into());
        }
        Ok(Some(Ended::job(line, job, files)))
    }

    fn lose(&self, line: usize, job: Uuid, why: String) {
        self.with_lost(|lost| lost.insert(line, Ended::lost(line, job, why)));
    }

    fn show(&self) {
        let (ended, counts) = self.counts();
        self.tally.show(ended, &counts);
    }
}
