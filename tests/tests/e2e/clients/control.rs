//! What a script may do to the lines, by `POST $CONTROL/NAME`: the clients know nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use darkroom_client::{Client, JobFilter, JobState};
use darkroom_e2e::{Disturbance, Proxy, until};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(30);

/// The lines, and how to see what becomes of requests.
#[derive(Debug)]
pub(super) struct Disturbable {
    /// From the scripts to the API.
    pub(super) callers: Proxy,
    /// From the API to the database.
    pub(super) database: Proxy,
    /// The scripts' tenant.
    pub(super) tenant: Client,
    /// Where the API tells its metrics.
    pub(super) operations: String,
}

impl Disturbable {
    /// How many requests got 503 so far.
    async fn refusals(&self) -> reqwest::Result<u64> {
        let metrics = reqwest::get(format!("{}/metrics", self.operations)).await?.text().await?;
        let counts = metrics.lines().filter(|line| {
            line.starts_with("darkroom_http_requests_total{") && line.contains("status=\"503\"")
        });
        Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

/// The listener of the scripts' wishes; stopped when dropped.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) url: String,
    /// The scripts' key.
    pub(super) key: String,
    _serving: JoinSet<()>,
}

struct Served {
    lines: Disturbable,
    /// Requests that had got 503 when the last outage began.
    refused_before: AtomicU64,
}

impl Control {
    pub(super) async fn start(key: String, lines: Disturbable) -> Self {
        let served = Served { lines, refused_before: AtomicU64::new(0) };
        let routes = Router::new()
            .route("/cut", post(cut))
            .route("/drop", post(drop_connections))
            .route("/outage", post(outage))
            .route("/mend", post(mend))
            .with_state(Arc::new(served));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, key, _serving: serving }
    }
}

/// Breaks every connection.
async fn cut(State(served): State<Arc<Served>>) {
    served.lines.callers.reset().await;
}

/// The same, as soon as a job runs that a caller waits for.
async fn drop_connections(State(served): State<Arc<Served>>) {
    let running = JobFilter { state: Some(JobState::Running), ..JobFilter::default() };
    until("a job runs", SOON, || async {
        let page = served.lines.tenant.jobs(&running).await.ok()?;
        (!page.jobs.is_empty()).then_some(())
    })
    .await;
    served.lines.callers.reset().await;
}

/// From now on the API reaches no database, and says so with 503 and `Retry-After`.
async fn outage(State(served): State<Arc<Served>>) {
    let before = served.lines.refusals().await.unwrap();
    served.refused_before.store(before, Ordering::Relaxed);
    served.lines.database.disturb(Disturbance::Refuse);
}

/// Ends the outage as soon as a request was refused in it.
async fn mend(State(served): State<Arc<Served>>) {
    until("a request is refused", SOON, || async {
        let refused = served.lines.refusals().await.ok()?;
        (refused > served.refused_before.load(Ordering::Relaxed)).then_some(())
    })
    .await;
    served.lines.database.mend();
}
