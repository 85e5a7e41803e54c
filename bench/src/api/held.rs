//! What callers who wait cost the API in memory.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sqlx::Row as _;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Bench, POOL};
use crate::figure::{Figure, Target};
use crate::growth::seed;
use crate::http::{Connection, Request};
use crate::report::note;
use crate::samples::Samples;
use crate::service::Api;

/// Callers who wait, each for a job of their own.
const CALLERS: usize = 2_000;
/// Within this all of them wait. They are answered after a minute.
const BOUND: Duration = Duration::from_secs(40);
/// Memory is read when nothing has happened for so long.
const REST: Duration = Duration::from_secs(2);
const TARGET: Target = Target::AtMost(150.0);

pub(super) async fn measure(bench: &Bench, rounds: u32) -> Result<Vec<Figure>> {
    raise_open_files()?;
    bench.database.execute("truncate jobs, outbox cascade").await?;
    seed::fill(
        &bench.database,
        std::slice::from_ref(&bench.tenant),
        seed::Size { finished: 1, queued: CALLERS },
    )
    .await?;
    let mut connection = bench.database.connection().await?;
    let rows = sqlx::query("select id from jobs where state = 'queued'").fetch_all(&mut connection).await?;
    let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
    let key = &bench.tenant.key;
    let polls = ids.iter().map(|id| Request::get(&format!("/v1/jobs/{id}"), key, "prefer: wait=60\r\n"));
    let streams = ids.iter().map(|id| Request::get(&format!("/v1/jobs/{id}/events"), key, ""));
    Ok(vec![
        figure(bench, "long-polls", polls.collect(), rounds).await?,
        figure(bench, "event streams", streams.collect(), rounds).await?,
    ])
}

async fn figure(bench: &Bench, what: &str, requests: Vec<Request>, rounds: u32) -> Result<Figure> {
    let name = format!("memory of the API while {CALLERS} {what} are held");
    note(&name);
    let (mut held, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut api = Api::start(&bench.database, POOL).await?;
        sleep(REST).await;
        idle.push(megabytes(&api));
        held.push(hold(&api, &requests).await?);
        api.service.kill();
    }
    let reference = Some(("before the first request".to_owned(), Samples::new(idle)));
    Ok(Figure { name, unit: "MB", ours: Samples::new(held), reference, target: Some(TARGET) })
}

/// The API's memory while all these are held.
async fn hold(api: &Api, requests: &[Request]) -> Result<f64> {
    let started = Instant::now();
    let mut connections = Vec::new();
    for request in requests {
        let mut connection = Connection::open(api.address).await?;
        connection.send(request).await?;
        connections.push(connection);
    }
    while api.gauge("darkroom_waiters").await < requests.len() as f64 {
        ensure!(started.elapsed() < BOUND, "fewer than {} requests are held", requests.len());
        sleep(Duration::from_millis(100)).await;
    }
    sleep(REST).await;
    let memory = megabytes(api);
    ensure!(api.gauge("darkroom_waiters").await == requests.len() as f64, "some were answered too early");
    Ok(memory)
}

fn megabytes(api: &Api) -> f64 {
    api.service.memory_bytes() as f64 / 1e6
}

/// Connections are open files.
fn raise_open_files() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("failed to raise `ulimit -n`")
}
