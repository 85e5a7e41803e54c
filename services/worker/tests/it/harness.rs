//! A site for one test: a database, a catalog, and workers in this process.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use darkroom_blobs::{Blobs, BlobsConfig, input_key};
use darkroom_jobs::{Catalog, InputImage, JobId, JobState, Lane, TenantId, parse_submission};
use darkroom_ops::{Context, LogFormat, OpsConfig, Readiness, Routes, Shutdown, Tasks};
use darkroom_queue::QueueConfig;
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Accepted, Job, NewJob};
use darkroom_worker::{DeviceChoice, LaneFilter, Settings, WorkerConfig};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The longest anything may take that should come about.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Where a test takes place.
pub(crate) struct Site {
    pub(crate) database: TestDatabase,
    pub(crate) blobs: Blobs,
    pub(crate) tenant: TenantId,
    catalog: Catalog,
    folder: TempDir,
}

/// A worker that runs.
pub(crate) struct RunningWorker {
    pub(crate) shutdown: Shutdown,
    pub(crate) readiness: Readiness,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Site {
    /// A site whose catalog has one fake model for pictures, `{name}/draw`, and one for captions,
    /// `{name}/say`, both warm, with these keys in addition.
    pub(crate) async fn new(name: &str, keys: Value) -> Self {
        let entry = |pipeline: &str, model: &str| {
            let mut entry = json!({
                "pipeline": pipeline, "model_id": format!("test/{name}/{model}"), "source": "builtin:fake", "warm": true,
                "defaults": {"width": 32, "height": 32, "steps": 4}
            });
            entry.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            entry
        };
        Self::with_catalog(&json!([entry("text-to-image", "draw"), entry("image-to-text", "say")])).await
    }

    /// A site with a catalog of its own.
    pub(crate) async fn with_catalog(catalog: &Value) -> Self {
        let text = catalog.to_string();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("catalog.json"), &text).unwrap();
        let database = TestDatabase::create().await;
        let tenant = TenantId::from_uuid(Uuid::now_v7());
        database.store.create_tenant(tenant, "tester").await.unwrap();
        let blobs = Blobs::connect(&blobs());
        blobs.ensure_bucket().await.unwrap();
        Self { database, blobs, tenant, catalog: Catalog::parse(&text).unwrap(), folder }
    }

    /// Settings for a worker here, with one slot.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            store: self.database.config.clone(),
            queue: QueueConfig { amqp_url: setting("TEST_AMQP_URL").into() },
            blobs: blobs(),
            ops: OpsConfig {
                ops_listen: (Ipv4Addr::LOCALHOST, 0).into(),
                log_filter: "info".to_owned(),
                log_format: LogFormat::Text,
            },
            worker: WorkerConfig {
                catalog: self.path("catalog.json"),
                models_dir: self.path("models"),
                model_cache: self.path("cache"),
                hf_endpoint: "http://127.0.0.1:9".parse().unwrap(),
                hf_token: None,
                device: DeviceChoice::Cpu,
                slots: 1,
                memory_budget_bytes: None,
                allow_fake: true,
                grace_seconds: 30,
                lanes: LaneFilter::default(),
                stall_seconds: 30,
            },
        }
    }

    /// Where the worker's files lie.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// Starts a worker with the settings of [`Self::settings`].
    pub(crate) fn start(&self) -> RunningWorker {
        RunningWorker::start(self.settings())
    }

    /// The lane of the fake that draws.
    pub(crate) fn lane(&self) -> Lane {
        self.catalog.models()[0].lane.clone()
    }

    /// Submits a picture job with these inputs.
    pub(crate) async fn draw(&self, input: Value) -> JobId {
        self.submit(
            JobId::from_uuid(Uuid::now_v7()),
            json!({"pipeline": "text-to-image", "input": input}),
            None,
        )
        .await
    }

    /// Stores `bytes` as an input and submits a caption job for it.
    pub(crate) async fn caption(&self, bytes: Vec<u8>, prompt: &str) -> JobId {
        let id = JobId::from_uuid(Uuid::now_v7());
        let key = input_key(id);
        let stored = self.blobs.put(&key, bytes.into(), "application/octet-stream").await.unwrap();
        let image = InputImage {
            key,
            content_type: "image/png".to_owned(),
            size_bytes: stored.size_bytes,
            sha256: hex::encode(stored.sha256),
            width: 8,
            height: 8,
        };
        self.submit(id, json!({"pipeline": "image-to-text", "input": {"prompt": prompt}}), Some(image)).await
    }

    async fn submit(&self, id: JobId, document: Value, image: Option<InputImage>) -> JobId {
        let submission = parse_submission(&self.catalog, &document, image, 7).unwrap();
        let model = self.catalog.of_lane(&submission.lane).unwrap();
        let job = NewJob {
            id,
            tenant: self.tenant,
            api_key: None,
            max_attempts: model.retry.max_attempts,
            submission,
            file: None,
            price: Decimal::ONE,
            currency: "USD".to_owned(),
            idempotency_key: None,
            request_hash: [0; 32],
            traceparent: None,
            fingerprint: None,
        };
        assert!(matches!(self.database.store.accept(&job).await.unwrap(), Accepted::Created(_)));
        id
    }

    /// The job as its owner sees it.
    pub(crate) async fn job(&self, id: JobId) -> Job {
        self.database.store.job(self.tenant, id).await.unwrap().unwrap()
    }

    /// Waits until the job is as wanted.
    pub(crate) async fn wait(&self, id: JobId, wanted: impl Fn(&Job) -> bool) -> Job {
        eventually(async || Some(self.job(id).await).filter(&wanted)).await
    }

    /// Waits until the job is final.
    pub(crate) async fn finished(&self, id: JobId) -> Job {
        self.wait(id, |job| job.state.is_final()).await
    }

    /// Waits until an attempt at the job makes steps.
    pub(crate) async fn stepping(&self, id: JobId) -> Job {
        self.wait(id, |job| job.state == JobState::Running && job.progress.is_some()).await
    }

    /// States of the job's attempts, by number.
    pub(crate) async fn attempts(&self, id: JobId, state: &str) -> i64 {
        let sql = format!("select count(*) from attempts where job_id = '{id}' and state = '{state}'");
        self.database.count(&sql).await
    }

    /// Ends the test.
    pub(crate) async fn clean(self, jobs: &[JobId]) {
        for job in jobs {
            self.blobs.delete_prefix(&darkroom_blobs::job_prefix(job)).await.unwrap();
        }
        self.database.drop_database().await;
    }
}

impl RunningWorker {
    /// Starts a worker in this process.
    pub(crate) fn start(settings: Settings) -> Self {
        let shutdown = Shutdown::default();
        let readiness = Readiness::new(shutdown.soft.clone());
        let tasks = Tasks::new(shutdown.soft.clone());
        let context = Context {
            shutdown: shutdown.clone(),
            readiness: readiness.clone(),
            tasks: tasks.clone(),
            open_files: 1_024,
            routes: Routes::default(),
        };
        let soft = shutdown.soft.clone();
        let task = tokio::spawn(async move {
            let outcome = darkroom_worker::run(settings, context).await;
            soft.cancel();
            outcome.and(tasks.finish(Duration::from_secs(10)).await)
        });
        Self { shutdown, readiness, task }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        eventually(async || self.readiness.report().await.is_ready().then_some(())).await;
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        tokio::time::timeout(DEADLINE, self.task).await.expect("the worker ends in time").unwrap()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(self) {
        self.shutdown.soft.cancel();
        self.ended().await.unwrap();
    }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.expect("comes about in time")
}

pub(crate) fn blobs() -> BlobsConfig {
    BlobsConfig {
        s3_endpoint: setting("TEST_S3_ENDPOINT").parse().unwrap(),
        s3_region: "us-east-1".to_owned(),
        s3_bucket: "darkroom-test".to_owned(),
        s3_access_key_id: setting("TEST_S3_ACCESS_KEY_ID"),
        s3_secret_access_key: setting("TEST_S3_SECRET_ACCESS_KEY").into(),
        s3_public_endpoint: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "test servers are named by the environment")]
fn setting(name: &str) -> String {
    std::env::var(name).expect("run through `cargo xtask test`")
}
