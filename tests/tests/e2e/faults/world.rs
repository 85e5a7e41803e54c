//! A deployment with disturbable lines to all of its servers, and what the rows do with it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use darkroom_client::{Client, Job, JobState};
use darkroom_e2e::{Catalog, Deployment, Lines, Manner, PrivateServers, Receiver, Service, until};
use darkroom_store::testing::TestDatabase;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::invariants;
use crate::verify::request;

/// The most that may pass from a worker's death to the next attempt's start: the lease, a round of the reaper, the
/// first backoff, and the wait for a machine that has other work.
pub(crate) const RECOVERY: Duration = Duration::from_secs(15);

/// Settings of every service here. Leases are long enough for a busy machine and short enough for a test; objects
/// that nobody names are swept at once.
const SETTINGS: [(&str, &str); 6] = [
    ("DARKROOM_LEASE_SECONDS", "3"),
    ("DARKROOM_SWEEP_SECONDS", "1"),
    ("DARKROOM_SWEEP_GRACE_SECONDS", "2"),
    ("DARKROOM_DB_CONNECTIONS", "5"),
    ("DARKROOM_ALLOWED_NETWORKS", "127.0.0.1/32"),
    ("DARKROOM_WEBHOOK_TIMEOUT_SECONDS", "2"),
];

/// API and dispatcher, a tenant and a stranger.
pub(crate) struct World {
    pub(crate) deployment: Deployment,
    pub(crate) lines: Lines,
    /// Key of the tenant whose jobs run.
    pub(crate) key: String,
    pub(crate) client: Client,
    /// Another tenant, who must see nothing.
    pub(crate) stranger: Client,
    /// Is told when a job of the tenant has ended.
    receiver: Receiver,
}

impl World {
    /// On the shared servers; each step of a job takes so many milliseconds.
    pub(crate) async fn start(step_ms: u64) -> Self {
        Self::with_catalog(&Catalog::fake(step_ms), &[]).await
    }

    /// The same with models and settings of a row's own.
    pub(crate) async fn with_catalog(catalog: &Catalog, settings: &[(&str, &str)]) -> Self {
        Self::on(TestDatabase::create().await, None, catalog, settings).await
    }

    /// With a broker of its own.
    pub(crate) async fn with_broker(servers: &PrivateServers, step_ms: u64) -> Self {
        Self::on(TestDatabase::create().await, Some(servers.amqp_url()), &Catalog::fake(step_ms), &[]).await
    }

    /// With a database server of its own.
    pub(crate) async fn with_database(servers: &PrivateServers, step_ms: u64) -> Self {
        let database = TestDatabase::create_on(servers.database_url()).await;
        Self::on(database, None, &Catalog::fake(step_ms), &[]).await
    }

    async fn on(
        database: TestDatabase,
        amqp: Option<&str>,
        catalog: &Catalog,
        further: &[(&str, &str)],
    ) -> Self {
        let lines = Lines::lay(database.url(), amqp).await;
        let settings = [&SETTINGS[..], &lines.settings(), further].concat();
        let deployment = Deployment::on(database, catalog, &settings).await;
        invariants::watch(&deployment.database).await;
        let key = deployment.key("tenant").await;
        let client = Client::new(&deployment.url, key.as_str()).unwrap();
        let stranger = deployment.tenant("stranger").await;
        let receiver = Receiver::start(&[Manner::Status(200)]).await;
        let world = Self { deployment, lines, key, client, stranger, receiver };
        world.tell(&world.key, &world.receiver).await;
        world
    }

    /// Makes a webhook of the tenant with this key, and returns its id.
    pub(crate) async fn tell(&self, key: &str, receiver: &Receiver) -> String {
        let url = format!("{}/v1/webhooks", self.deployment.url);
        let request = reqwest::Client::new().post(url).bearer_auth(key).json(&json!({"url": receiver.url}));
        let made: Value = request.send().await.unwrap().json().await.unwrap();
        made["id"].as_str().expect("a webhook was made").to_owned()
    }

    /// Ids of the messages that have come about each job.
    pub(crate) fn told(&self) -> HashMap<Uuid, BTreeSet<String>> {
        let mut told: HashMap<Uuid, BTreeSet<String>> = HashMap::new();
        for message in self.receiver.received() {
            let job = message.json()["data"]["id"].as_str().and_then(|id| id.parse().ok());
            let job = job.expect("every message is about a job");
            told.entry(job).or_default().insert(message.header("webhook-id").to_owned());
        }
        told
    }

    /// A worker that gets a signal, or panics, at a named point of the code.
    pub(crate) fn doomed_worker(&self, crash_point: &str) -> Service {
        self.deployment.spawn("darkroom-worker", &[], &[("DARKROOM_CRASH_POINT", crash_point)])
    }

    /// A job of so many steps, submitted.
    pub(crate) async fn submit(&self, steps: u32) -> Job {
        let mut task = request("a red circle", 7);
        task.steps = Some(steps);
        self.client.submit_text_to_image(&task).await.unwrap()
    }

    /// Waits for the job's success and says how long that took.
    pub(crate) async fn succeeds_within(&self, job: &Job, bound: Duration) -> (Job, Duration) {
        let started = Instant::now();
        let job = self.client.wait(job.id, bound).await.unwrap();
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
        (job, started.elapsed())
    }

    /// The single number that a query returns.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.deployment.database.count(sql).await
    }

    /// Attempts of a job that ended in this state.
    pub(crate) async fn attempts(&self, job: &Job, state: &str) -> i64 {
        let sql = format!("select count(*) from attempts where job_id = '{}' and state = '{state}'", job.id);
        self.count(&sql).await
    }

    /// Waits until a query returns this number.
    pub(crate) async fn becomes(&self, what: &str, sql: &str, number: i64, bound: Duration) -> Duration {
        let started = Instant::now();
        until(what, bound, || async { (self.count(sql).await == number).then_some(()) }).await;
        started.elapsed()
    }

    /// Forgets the jobs there were, so that the next round begins with none.
    pub(crate) async fn forget(&self) {
        self.deployment.database.execute("truncate jobs, outbox, webhook_deliveries cascade").await;
    }

    /// Ends everything.
    pub(crate) async fn end(self) {
        self.deployment.end().await;
    }
}
