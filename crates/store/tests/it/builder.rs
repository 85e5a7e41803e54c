//! Arranging jobs and workers.

use std::collections::BTreeMap;
use std::time::Duration;

use darkroom_jobs::{
    ArtifactId, ImageSize, JobId, JobOptions, Lane, LeaseToken, Loras, PictureOutput, Pipeline, Priority,
    Prompt, Submission, Task, TenantId, TextToImage, WorkerId,
};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{
    Accepted, Lease, LeaseRequest, LeasedJob, NewArtifact, NewJob, NewWorker, Outcome, Recorded, Settled,
    Store, Wish,
};
use uuid::Uuid;

pub(crate) fn lane(model: &str) -> Lane {
    Lane::new(Pipeline::TextToImage, model).unwrap()
}

pub(crate) fn token() -> LeaseToken {
    LeaseToken::from_uuid(Uuid::new_v4())
}

pub(crate) async fn tenant(store: &Store, name: &str) -> TenantId {
    let id = TenantId::from_uuid(Uuid::now_v7());
    store.create_tenant(id, name).await.unwrap();
    id
}

/// A job of one 64 × 64 picture in lane `m`.
pub(crate) fn new_job(tenant: TenantId) -> NewJob {
    let task = Task::TextToImage(TextToImage {
        prompt: Prompt::new("a red circle").unwrap(),
        negative_prompt: None,
        size: ImageSize::new(64, 64).unwrap(),
        steps: 4,
        guidance_scale: 1.0,
        seed: 1,
        images: 1,
        scheduler: None,
        loras: Loras::default(),
        safety_check: false,
        output: PictureOutput::default(),
    });
    let options = JobOptions {
        priority: Priority::Normal,
        deadline: None,
        retention: JobOptions::MAX_RETENTION,
        metadata: [("who".to_owned(), "me".to_owned())].into(),
        webhook: None,
    };
    NewJob {
        id: JobId::from_uuid(Uuid::now_v7()),
        tenant,
        api_key: None,
        submission: Submission { lane: lane("m"), task, options },
        file: None,
        max_attempts: 4,
        price: "0.02".parse().unwrap(),
        currency: "USD".into(),
        idempotency_key: None,
        request_hash: [7; 32],
        traceparent: None,
        fingerprint: None,
    }
}

pub(crate) fn with_priority(mut job: NewJob, priority: Priority) -> NewJob {
    job.submission.options.priority = priority;
    job
}

pub(crate) fn in_lane(mut job: NewJob, model: &str) -> NewJob {
    job.submission.lane = lane(model);
    job
}

pub(crate) fn with_deadline(mut job: NewJob, deadline: Duration) -> NewJob {
    job.submission.options.deadline = Some(deadline);
    job
}

pub(crate) async fn accept(store: &Store, job: NewJob) -> JobId {
    match store.accept(&job).await.unwrap() {
        Accepted::Created(made) => made.id,
        other => panic!("expected a new job, got {other:?}"),
    }
}

/// A worker that serves lane `m` and has nothing loaded.
pub(crate) struct TestWorker {
    pub(crate) id: WorkerId,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) loaded: Vec<Lane>,
}

impl TestWorker {
    pub(crate) async fn start(store: &Store) -> Self {
        let id = WorkerId::from_uuid(Uuid::now_v7());
        let worker = Self { id, lanes: vec![lane("m")], loaded: Vec::new() };
        worker.seen(store).await;
        worker
    }

    pub(crate) async fn seen(&self, store: &Store) -> Wish {
        let worker =
            NewWorker { id: self.id, host: "test".into(), device: "cpu".into(), lanes: self.lanes.clone() };
        store.worker_seen(&worker, &self.loaded, &BTreeMap::new()).await.unwrap()
    }

    pub(crate) async fn lease(&self, store: &Store) -> Option<LeasedJob> {
        let request =
            LeaseRequest { worker: self.id, token: token(), lanes: &self.lanes, loaded: &self.loaded };
        store.lease(&request).await.unwrap()
    }

    /// The next job, which has to be there.
    pub(crate) async fn take(&self, store: &Store) -> LeasedJob {
        self.lease(store).await.expect("a job is waiting")
    }
}

pub(crate) fn picture(lease: &Lease, index: u32) -> NewArtifact {
    NewArtifact {
        id: ArtifactId::from_uuid(Uuid::now_v7()),
        index,
        key: format!("jobs/{}/{}/{index}.png", lease.job, lease.attempt),
        content_type: "image/png".into(),
        size_bytes: 10,
        sha256: [1; 32],
        width: Some(64),
        height: Some(64),
        seed: Some(1),
        nsfw: false,
        text: None,
    }
}

pub(crate) async fn record(store: &Store, lease: &Lease) -> Recorded {
    store.record_artifact(lease, &picture(lease, 0)).await.unwrap()
}

/// Moves every lease into the past.
pub(crate) async fn let_leases_expire(database: &TestDatabase) {
    database
        .execute("update attempts set lease_expires_at = now() - interval '1 second' where state = 'running'")
        .await;
}

/// Ends every backoff.
pub(crate) async fn let_backoffs_end(database: &TestDatabase) {
    database.execute("update jobs set available_at = now(); update outbox set available_at = now()").await;
}

/// Moves everything that has happened into the past, as if so many seconds had gone by.
pub(crate) async fn let_time_pass(database: &TestDatabase, seconds: u32) {
    database
        .execute(&format!(
            "update jobs set created_at = created_at - interval '{seconds} s', deadline = deadline - interval '{seconds} s',
                             available_at = available_at - interval '{seconds} s';
             update attempts set leased_at = leased_at - interval '{seconds} s',
                                 finished_at = finished_at - interval '{seconds} s'"
        ))
        .await;
}

/// Ends a leased job well.
pub(crate) async fn succeed(store: &Store, leased: &LeasedJob) {
    record(store, &leased.lease).await;
    let outcome = Outcome::Succeeded { timings: [].into() };
    assert_eq!(store.settle(&leased.lease, &outcome, 1).await.unwrap(), Settled::Done);
}

/// As many pictures, so as many times the pixels.
pub(crate) fn with_images(mut job: NewJob, images: u32) -> NewJob {
    if let Task::TextToImage(task) = &mut job.submission.task {
        task.images = images;
    }
    job
}
