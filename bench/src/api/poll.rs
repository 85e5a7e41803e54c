//! Polls of a finished job, beside a handler that does nothing but ask the same.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::Bench;
use super::bare::Bare;
use crate::figure::{Figure, Target};
use crate::http::{Connection, Request};
use crate::load::{Load, Rates};
use crate::report::note;
use crate::worker::Worker;

const CONNECTIONS: usize = 64;
const DURATION: Duration = Duration::from_secs(4);
const TARGET: Target = Target::RatioAtLeast(0.8);

pub(super) async fn measure(bench: &Bench, rounds: u32) -> Result<Vec<Figure>> {
    let id = finished(bench).await?;
    let path = format!("/v1/jobs/{id}");
    let plain = Request::get(&path, &bench.tenant.key, "");
    let body = Connection::open(bench.api.address).await?.ask(&plain).await?.expect(200)?;
    let job: serde_json::Value = serde_json::from_slice(&body)?;
    let tag = format!("if-none-match: W/\"v{}\"\r\n", job["version"]);
    let bare = Bare::start(&bench.database, bench.tenant.id, job)?;
    let mut figures = Vec::new();
    for (name, further, status) in [("poll, answered 200", "", 200), ("poll, answered 304", &tag[..], 304)] {
        note(name);
        let request = Request::get(&path, &bench.tenant.key, further);
        let (mut ours, mut reference) = (Rates::default(), Rates::default());
        for round in 0..rounds {
            for side in 0..2 {
                let load = |address: SocketAddr| Load {
                    address,
                    request: request.clone(),
                    status,
                    connections: CONNECTIONS,
                    duration: DURATION,
                };
                if (round + side) % 2 == 0 {
                    ours.push(load(bench.api.address).run().await?);
                } else {
                    reference.push(load(bare.address).run().await?);
                }
            }
        }
        let reference = ("bare axum and sqlx", reference);
        figures.extend(Rates::figures(name, Some(TARGET), ours, reference));
    }
    Ok(figures)
}

/// A job that has succeeded.
async fn finished(bench: &Bench) -> Result<Uuid> {
    bench.database.execute("truncate jobs, outbox cascade").await?;
    let job = bench.submit().await?;
    let worker = Worker::new()?;
    let leased = worker.lease(&bench.database.store).await?;
    worker.finish(&bench.database.store, &leased.lease).await?;
    bench.database.execute("vacuum analyze").await?;
    serde_json::from_value(job["id"].clone()).context("a job has an id")
}
