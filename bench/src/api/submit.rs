//! Durable submissions, beside pgbench with the same statement on the same database.

use std::time::Duration;

use anyhow::Result;
use uuid::Uuid;

use super::Bench;
use super::pgbench::Pgbench;
use crate::figure::{Figure, Target};
use crate::load::{Load, Rate, Rates};
use crate::report::note;
use crate::samples::Samples;

const DURATION: Duration = Duration::from_secs(4);
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// At the last of these many connections.
const TARGET: Target = Target::RatioAtLeast(0.6);

pub(super) async fn measure(bench: &Bench, rounds: u32) -> Result<Vec<Figure>> {
    let job = bench.submit().await?;
    let id: Uuid = serde_json::from_value(job["id"].clone())?;
    let pgbench = Pgbench::of_job(&bench.database, id).await?;
    let mut figures = Vec::new();
    for connections in CONNECTIONS {
        let name = plural(connections);
        note(format!("submissions, {name}"));
        let (mut ours, mut reference) = (Rates::default(), Rates::default());
        let mut spent = Vec::new();
        for round in 0..rounds {
            for side in 0..2 {
                empty(bench).await?;
                if (round + side) % 2 == 0 {
                    let before = bench.api.service.processor_time();
                    let rate = submit(bench, connections).await?;
                    let time = bench.api.service.processor_time() - before;
                    spent.push(time.as_secs_f64() * 1e3 / (rate.per_second * DURATION.as_secs_f64()));
                    ours.push(rate);
                } else {
                    reference.push(pgbench.run(&bench.database, connections, DURATION).await?);
                }
            }
        }
        let target = (connections == CONNECTIONS[CONNECTIONS.len() - 1]).then_some(TARGET);
        figures.extend(Rates::figures(&format!("submit, {name}"), target, ours, ("pgbench", reference)));
        figures.push(Figure {
            name: format!("submit, {name}: processor time of the API"),
            unit: "ms",
            ours: Samples::new(spent),
            reference: None,
            target: None,
        });
    }
    Ok(figures)
}

async fn submit(bench: &Bench, connections: usize) -> Result<Rate> {
    let load = Load {
        address: bench.api.address,
        request: bench.submission(),
        status: 202,
        connections,
        duration: DURATION,
    };
    load.run().await
}

/// Both sides begin with empty tables and a log that was just flushed.
async fn empty(bench: &Bench) -> Result<()> {
    bench.database.execute("truncate jobs, outbox cascade").await?;
    bench.database.execute("checkpoint").await
}

fn plural(connections: usize) -> String {
    if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") }
}
