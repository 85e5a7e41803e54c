//! What a worker does to a job, without a model.

use std::collections::BTreeMap;

use darkroom_blobs::{Blobs, artifact_key};
use darkroom_jobs::{ArtifactId, Failure, FailureClass, Lane, LeaseToken, Pipeline, Retry, WorkerId};
use darkroom_store::{
    Beat, LeaseRequest, LeasedJob, ModelStatus, NewArtifact, NewWorker, Outcome, Progress, Pulse, Settled,
    Store,
};
use uuid::Uuid;

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    store: Store,
    blobs: Blobs,
}

impl Worker {
    pub(super) fn new(store: Store, blobs: Blobs) -> Self {
        Self { id: WorkerId::from_uuid(Uuid::now_v7()), store, blobs }
    }

    pub(crate) fn lanes() -> Vec<Lane> {
        let lane = |pipeline, model: &str| Lane::new(pipeline, model).unwrap();
        vec![
            lane(Pipeline::TextToImage, "test/painter"),
            lane(Pipeline::ImageToText, "test/captioner"),
            lane(Pipeline::TextToImage, "test/distilled"),
        ]
    }

    /// Makes itself known.
    pub(crate) async fn appear(&self, loaded: &[Lane]) {
        self.appear_with(loaded, &BTreeMap::new()).await;
    }

    /// Makes itself known, with what it has of the models.
    pub(crate) async fn appear_with(&self, loaded: &[Lane], models: &BTreeMap<Lane, ModelStatus>) {
        let new = NewWorker {
            id: self.id,
            host: "test".to_owned(),
            device: "test".to_owned(),
            lanes: Self::lanes(),
        };
        self.store.worker_seen(&new, loaded, models).await.unwrap();
    }

    pub(crate) async fn lease(&self) -> LeasedJob {
        let lanes = Self::lanes();
        let token = LeaseToken::from_uuid(Uuid::now_v7());
        let request = LeaseRequest { worker: self.id, token, lanes: &lanes, loaded: &lanes };
        self.store.lease(&request).await.unwrap().expect("a job waits")
    }

    /// Stores and records a picture.
    pub(crate) async fn store_picture(&self, job: &LeasedJob, bytes: &'static [u8]) {
        let key = artifact_key(job.lease.job, job.lease.attempt, 0, "png");
        let stored = self.blobs.put(&key, bytes.into(), "image/png").await.unwrap();
        self.record(
            job,
            NewArtifact { seed: Some(7), width: Some(64), height: Some(64), ..new(key, "image/png", stored) },
        )
        .await;
    }

    /// Stores and records a caption.
    pub(crate) async fn store_caption(&self, job: &LeasedJob, text: &'static str) {
        let key = artifact_key(job.lease.job, job.lease.attempt, 0, "txt");
        let stored = self.blobs.put(&key, text.as_bytes().into(), "text/plain").await.unwrap();
        self.record(job, NewArtifact { text: Some(text.to_owned()), ..new(key, "text/plain", stored) }).await;
    }

    /// Says that the job's one picture is at this step of four.
    pub(crate) async fn report(&self, job: &LeasedJob, step: u32) {
        let progress = Some(Progress { image: 0, images: 1, step, steps: 4 });
        let beats = [Beat { lease: job.lease, progress }];
        assert_eq!(self.store.heartbeat(&beats).await.unwrap(), [(job.lease, Pulse::Held)]);
    }

    pub(crate) async fn succeed(&self, job: &LeasedJob) {
        let timings = BTreeMap::from([("inference".to_owned(), 12.5)]);
        self.settle(job, &Outcome::Succeeded { timings }).await;
    }

    pub(crate) async fn fail(&self, job: &LeasedJob) {
        self.fail_as(job, FailureClass::InvalidInput, "the image cannot be decoded").await;
    }

    pub(crate) async fn fail_as(&self, job: &LeasedJob, class: FailureClass, message: &str) {
        let failure = Failure::new(class, message);
        self.settle(job, &Outcome::Failed { failure, retry: Retry::Never, avoid: None }).await;
    }

    async fn record(&self, job: &LeasedJob, artifact: NewArtifact) {
        self.store.record_artifact(&job.lease, &artifact).await.unwrap();
    }

    async fn settle(&self, job: &LeasedJob, outcome: &Outcome) {
        assert_eq!(self.store.settle(&job.lease, outcome, 1).await.unwrap(), Settled::Done);
    }
}

fn new(key: String, content_type: &str, stored: darkroom_blobs::Stored) -> NewArtifact {
    NewArtifact {
        id: ArtifactId::from_uuid(Uuid::now_v7()),
        index: 0,
        key,
        content_type: content_type.to_owned(),
        size_bytes: stored.size_bytes,
        sha256: stored.sha256,
        width: None,
        height: None,
        seed: None,
        nsfw: false,
        text: None,
    }
}
