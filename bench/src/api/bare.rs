//! A server with one handler, that asks the database what the API asks it for a poll, and nothing else: what axum and
//! sqlx cost by themselves. A process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::{Path, State};
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use darkroom_jobs::TenantId;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::POOL;
use crate::database::Database;
use crate::statement;

/// The argument that makes this program the server.
pub(crate) const ROLE: &str = "serve-bare";

/// The running server. Killed when dropped.
#[derive(Debug)]
pub(super) struct Bare {
    pub(super) address: SocketAddr,
    child: Child,
}

/// What it is told on its standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    database_url: String,
    tenant: TenantId,
    body: Value,
}

impl Bare {
    pub(super) fn start(database: &Database, tenant: TenantId, body: Value) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the bare server")?;
        let told = Told { database_url: database.url.clone(), tenant, body };
        let mut stdin = child.stdin.take().context("it has an input")?;
        stdin.write_all(serde_json::to_string(&told)?.as_bytes())?;
        drop(stdin);
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("it has an output")?).read_line(&mut line)?;
        let address = line.trim().parse().context("the bare server did not start")?;
        Ok(Self { address, child })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the server until it is killed.
pub(crate) fn serve() -> Result<()> {
    let told: Told = serde_json::from_reader(std::io::stdin())?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let pool = PgPoolOptions::new().max_connections(POOL).connect(&told.database_url).await?;
        let shown = Shown { pool, tenant: told.tenant.as_uuid(), body: told.body };
        let router = Router::new().route("/v1/jobs/{id}", get(show)).with_state(Arc::new(shown));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        say(listener.local_addr()?)?;
        Ok(axum::serve(listener, router).await?)
    })
}

fn say(address: SocketAddr) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{address}")?)
}

#[derive(Debug)]
struct Shown {
    pool: PgPool,
    tenant: Uuid,
    body: Value,
}

/// What a poll is made of: every column is decoded.
#[derive(sqlx::FromRow)]
#[expect(dead_code, reason = "to be decoded is what they are for")]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    lane: String,
    class: i16,
    state: String,
    version: i32,
    attempt: i32,
    failures: i16,
    price: Decimal,
    cost: Option<Decimal>,
    currency: String,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    deadline: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    task: Value,
    metadata: Value,
    #[sqlx(rename = "timings?")]
    timings: Option<Value>,
    #[sqlx(rename = "warnings!")]
    warnings: Value,
    #[sqlx(rename = "artifacts!")]
    artifacts: Value,
}

async fn show(
    State(shown): State<Arc<Shown>>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    let failed = |_: sqlx::Error| StatusCode::INTERNAL_SERVER_ERROR;
    let job: Option<Row> = sqlx::query_as(statement::job())
        .bind(id)
        .bind(shown.tenant)
        .fetch_optional(&shown.pool)
        .await
        .map_err(failed)?;
    let job = job.ok_or(StatusCode::NOT_FOUND)?;
    let complete = job.artifacts.as_array().is_some_and(|all| all.len() == 1) && job.id == id;
    complete.then_some(()).ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let tag = format!("W/\"v{}\"", job.version);
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    Ok(([(ETAG, tag)], Json(&shown.body)).into_response())
}
