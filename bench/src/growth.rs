//! What many jobs cost the few that are asked for: the same calls on a database with many and on one with few.

mod churn;
pub(crate) mod seed;

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use crate::database::{Database, Tenant};
use crate::figure::{Figure, Target};
use crate::http::{Connection, Request};
use crate::report::note;
use crate::samples::Samples;
use crate::service::{Api, MODELS};
use crate::worker::Worker;

const TENANTS: usize = 50;
const MANY: seed::Size = seed::Size { finished: 1_000_000, queued: 100_000 };
const FEW: seed::Size = seed::Size { finished: 1_000, queued: 100 };
/// Jobs that come and go in a round.
const CYCLES: usize = 400;
/// The first of them, which are not counted.
const WARM_UP: usize = 20;
const TARGET: Target = Target::RatioAtMost(1.3);
const CALLS: [&str; 4] = ["submit", "poll", "list", "lease"];
const LEASE: usize = 3;

/// A database of some size, with an API and tenants who ask it.
struct Side {
    database: Database,
    api: Api,
    tenants: Vec<Tenant>,
    /// Finished jobs, each with its owner's place in `tenants`.
    finished: Vec<(usize, Uuid)>,
    worker: Worker,
    cycles: usize,
}

/// Milliseconds of every call of a round, in the order of [`CALLS`].
type Round = [Vec<f64>; 4];

impl Side {
    async fn start(size: seed::Size) -> Result<Self> {
        let database = Database::create().await?;
        let mut tenants = Vec::new();
        for number in 0..TENANTS {
            tenants.push(database.tenant(&format!("bench-{number}")).await?);
        }
        let started = Instant::now();
        seed::fill(&database, &tenants, size).await?;
        note(format!(
            "{} finished jobs, {} queued ones ({:?})",
            size.finished,
            size.queued,
            started.elapsed()
        ));
        let mut connection = database.connection().await?;
        let query = "select id, tenant_id from jobs where state = 'succeeded' order by random() limit 1000";
        let rows = sqlx::query(query).fetch_all(&mut connection).await?;
        let finished = rows.iter().map(|row| {
            let owner: Uuid = row.try_get(1)?;
            let place = tenants.iter().position(|tenant| tenant.id.as_uuid() == owner);
            Ok((place.context("every job has an owner")?, row.try_get(0)?))
        });
        let finished = finished.collect::<Result<_>>()?;
        let api = Api::start(&database, 10).await?;
        Ok(Self { database, api, tenants, finished, worker: Worker::new()?, cycles: 0 })
    }

    /// Jobs come, are asked for and go, one after the other.
    async fn round(&mut self) -> Result<Round> {
        let mut connection = Connection::open(self.api.address).await?;
        let mut taken = Round::default();
        for cycle in 0..CYCLES {
            self.cycles += 1;
            let tenant = &self.tenants[self.cycles % TENANTS];
            let (owner, id) = &self.finished[self.cycles * 7 % self.finished.len()];
            let document = json!({
                "pipeline": "text-to-image", "model": MODELS[self.cycles / TENANTS % MODELS.len()],
                "input": {"prompt": "a lighthouse on a cliff at dusk, oil on canvas", "seed": 7},
            });
            let requests = [
                (Request::post("/v1/jobs", &tenant.key, &document.to_string()), 202),
                (Request::get(&format!("/v1/jobs/{id}"), &self.tenants[*owner].key, ""), 200),
                (Request::get("/v1/jobs", &tenant.key, ""), 200),
            ];
            for (call, (request, status)) in requests.iter().enumerate() {
                let asked = Instant::now();
                connection.ask(request).await?.expect(*status)?;
                push(&mut taken[call], cycle, asked);
            }
            let asked = Instant::now();
            let leased = self.worker.lease(&self.database.store).await?;
            push(&mut taken[LEASE], cycle, asked);
            self.worker.finish(&self.database.store, &leased.lease).await?;
        }
        Ok(taken)
    }

    async fn end(mut self) -> Result<()> {
        self.api.service.kill();
        self.database.drop().await
    }
}

fn push(taken: &mut Vec<f64>, cycle: usize, asked: Instant) {
    if cycle >= WARM_UP {
        taken.push(asked.elapsed().as_secs_f64() * 1e3);
    }
}

/// `rounds` times each.
pub(crate) async fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let mut few = Side::start(FEW).await?;
    let mut many = Side::start(MANY).await?;
    let mut figures = sizes(&many.database).await?;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        note(format!("round {}", round + 1));
        if round % 2 == 0 {
            ours.push(many.round().await?);
            reference.push(few.round().await?);
        } else {
            reference.push(few.round().await?);
            ours.push(many.round().await?);
        }
    }
    for (call, name) in CALLS.iter().enumerate() {
        figures.extend(compared(name, "1,100 jobs", call, (&ours, &reference)));
    }
    let leases = churn::run(&many.database, &many.tenants).await?;
    let mut after = Vec::new();
    for _ in 0..rounds {
        after.push(many.round().await?);
    }
    figures.extend(compared(&format!("lease after {leases} more"), "before them", LEASE, (&after, &ours)));
    few.end().await?;
    many.end().await?;
    Ok(figures)
}

fn compared(name: &str, other: &str, call: usize, (ours, reference): (&[Round], &[Round])) -> Vec<Figure> {
    let samples = |rounds: &[Round], share| {
        Samples::new(rounds.iter().map(|round| Samples::new(round[call].clone()).quantile(share)).collect())
    };
    let figure = |(quantile, share)| Figure {
        name: format!("{name}: {quantile}"),
        unit: "ms",
        ours: samples(ours, share),
        reference: Some((other.to_owned(), samples(reference, share))),
        target: Some(TARGET),
    };
    [("p50", 0.5), ("p99", 0.99)].map(figure).into()
}

/// Bytes that a job takes.
async fn sizes(database: &Database) -> Result<Vec<Figure>> {
    let mut connection = database.connection().await?;
    let query = "select sum(pg_table_size(oid))::float8, sum(pg_indexes_size(oid))::float8 from pg_class
                 where relname in ('jobs', 'job_requests', 'attempts', 'artifacts')
                   and relkind = 'r' and relnamespace = 'public'::regnamespace";
    let row = sqlx::query(query).fetch_one(&mut connection).await?;
    let figure = |name: &str, bytes: f64| Figure {
        name: name.to_owned(),
        unit: "B",
        ours: Samples::new(vec![bytes / (MANY.finished + MANY.queued) as f64]),
        reference: None,
        target: None,
    };
    Ok(vec![
        figure("tables, for each job", row.try_get(0)?),
        figure("indexes, for each job", row.try_get(1)?),
    ])
}
