//! The API alone: what it takes in, what it tells, and what those who wait cost it.

mod bare;
mod held;
mod pgbench;
mod poll;
mod submit;

use anyhow::Result;
use serde_json::Value;

pub(crate) use bare::{ROLE as BARE, serve as serve_bare};

use crate::database::{Database, Tenant};
use crate::figure::Figure;
use crate::http::{Connection, Request};
use crate::service::{Api, MODELS};

/// Connections to the database, of the API as of what it is compared with.
const POOL: u32 = 64;

/// A database with an API, and a tenant who asks it.
struct Bench {
    database: Database,
    api: Api,
    tenant: Tenant,
}

impl Bench {
    async fn start() -> Result<Self> {
        let database = Database::create().await?;
        let tenant = database.tenant("bench").await?;
        let api = Api::start(&database, POOL).await?;
        Ok(Self { database, api, tenant })
    }

    /// A submission, as a caller without special wishes sends it.
    fn submission(&self) -> Request {
        let document = serde_json::json!({
            "pipeline": "text-to-image", "model": MODELS[0],
            "input": {"prompt": "a lighthouse on a cliff at dusk, oil on canvas", "seed": 7},
        });
        Request::post("/v1/jobs", &self.tenant.key, &document.to_string())
    }

    /// Submits a job, and returns what is told of it.
    async fn submit(&self) -> Result<Value> {
        let answer = Connection::open(self.api.address).await?.ask(&self.submission()).await?;
        Ok(serde_json::from_slice(&answer.expect(202)?)?)
    }

    async fn end(mut self) -> Result<()> {
        self.api.service.kill();
        self.database.drop().await
    }
}

/// `rounds` times each.
pub(crate) async fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let bench = Bench::start().await?;
    let mut figures = submit::measure(&bench, rounds).await?;
    figures.extend(poll::measure(&bench, rounds).await?);
    figures.extend(held::measure(&bench, rounds).await?);
    bench.end().await?;
    Ok(figures)
}
