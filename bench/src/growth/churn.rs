//! Wear: many jobs go, and others come in their place.

use std::time::{Duration, Instant};

use anyhow::Result;
use darkroom_jobs::JobId;
use sqlx::Row as _;
use tokio::task::JoinSet;

use super::seed::{self, Size};
use crate::database::{Database, Tenant};
use crate::report::note;
use crate::worker::Worker;

/// In so many parts, of so many leases by so many workers each.
const PARTS: usize = 10;
const LEASES: usize = 10_000;
const WORKERS: usize = 8;
/// No further part begins after so long.
const BOUND: Duration = Duration::from_secs(200);

/// Leases and settles jobs while the queue keeps its length, and returns how many.
pub(super) async fn run(database: &Database, tenants: &[Tenant]) -> Result<usize> {
    let mut connection = database.connection().await?;
    let query = "select id from jobs where state = 'succeeded' limit 1";
    let template = JobId::from_uuid(sqlx::query(query).fetch_one(&mut connection).await?.try_get(0)?);
    let started = Instant::now();
    let mut leases = 0;
    for _ in 0..PARTS {
        if started.elapsed() > BOUND {
            break;
        }
        seed::copy(database, tenants, template, Size { finished: 0, queued: LEASES }).await?;
        part(database).await?;
        leases += LEASES;
        note(format!("{leases} leases ({:?})", started.elapsed()));
    }
    Ok(leases)
}

async fn part(database: &Database) -> Result<()> {
    let store = database.hasty_store().await?;
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (store, worker) = (store.clone(), Worker::new()?);
        workers.spawn(async move {
            for _ in 0..LEASES / WORKERS {
                let leased = worker.lease(&store).await?;
                worker.finish(&store, &leased.lease).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    workers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    store.close().await;
    Ok(())
}
