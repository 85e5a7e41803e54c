//! What a worker asks of the store, without what it does in between.

use anyhow::{Context as _, Result, ensure};
use darkroom_jobs::{ArtifactId, Lane, LeaseToken, Pipeline, WorkerId};
use darkroom_store::{Lease, LeaseRequest, LeasedJob, NewArtifact, Settled, Store};
use uuid::Uuid;

use crate::service::MODELS;

/// A worker that serves every model.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    id: WorkerId,
    lanes: Vec<Lane>,
}

/// The lanes of the models.
pub(crate) fn lanes() -> Result<Vec<Lane>> {
    let lanes = MODELS.into_iter().map(|model| Lane::new(Pipeline::TextToImage, model));
    Ok(lanes.collect::<Result<_, _>>()?)
}

impl Worker {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { id: WorkerId::from_uuid(Uuid::now_v7()), lanes: lanes()? })
    }

    /// The next job.
    pub(crate) async fn lease(&self, store: &Store) -> Result<LeasedJob> {
        let token = LeaseToken::from_uuid(Uuid::new_v4());
        let request = LeaseRequest { worker: self.id, token, lanes: &self.lanes, loaded: &self.lanes };
        store.lease(&request).await?.context("no job is queued")
    }

    /// Ends a job well, with one picture.
    pub(crate) async fn finish(&self, store: &Store, lease: &Lease) -> Result<()> {
        let timings = [("fetch", 1.0), ("inference", 5000.0), ("encode", 40.0), ("upload", 30.0)];
        let timings = timings.map(|(stage, ms)| (stage.to_owned(), ms)).into();
        let settled = store.finish(lease, &picture(lease), &timings, 1).await?;
        ensure!(settled == Settled::Done, "a job was not settled: {settled:?}");
        Ok(())
    }
}

fn picture(lease: &Lease) -> NewArtifact {
    NewArtifact {
        id: ArtifactId::from_uuid(Uuid::now_v7()),
        index: 0,
        key: format!("jobs/{}/{}/0.png", lease.job, lease.attempt),
        content_type: "image/png".to_owned(),
        size_bytes: 400_000,
        sha256: [7; 32],
        width: Some(512),
        height: Some(512),
        seed: Some(7),
        nsfw: false,
        text: None,
    }
}
