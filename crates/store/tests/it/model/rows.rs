//! What the tables say, in a form that the reference model has too.

use darkroom_jobs::{AttemptState, FailureClass, JobState};
use rust_decimal::Decimal;
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::types::Json;

use super::step::Worker;

/// Milliseconds since the beginning of the test's clock.
pub(super) type Millis = i64;

/// Everything that the model and the tables have to agree on. Jobs stand in the order of their ids.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Rows {
    pub(super) jobs: Vec<JobRow>,
    pub(super) outbox: Vec<Ticket>,
    /// Of the jobs, in the same order. The model leaves them open.
    pub(super) versions: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct JobRow {
    pub(super) state: JobState,
    pub(super) attempt: i32,
    pub(super) failures: u16,
    pub(super) worker_deaths: u16,
    pub(super) leased: bool,
    pub(super) cost: Option<Decimal>,
    pub(super) artifact_count: Option<u32>,
    pub(super) failure: Option<FailureClass>,
    pub(super) avoid: Option<Avoid>,
    pub(super) available_at: Millis,
    pub(super) deadline: Millis,
    pub(super) created_at: Millis,
    pub(super) started_at: Option<Millis>,
    pub(super) finished_at: Option<Millis>,
    pub(super) deleted: bool,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) artifacts: Vec<ArtifactRow>,
    /// What webhooks tell of it.
    pub(super) events: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Avoid {
    pub(super) worker: Worker,
    pub(super) until: Millis,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct AttemptRow {
    pub(super) worker: Worker,
    pub(super) state: AttemptState,
    pub(super) failure: Option<FailureClass>,
    pub(super) leased_at: Millis,
    pub(super) expires_at: Millis,
    pub(super) finished_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct ArtifactRow {
    pub(super) index: u32,
    pub(super) attempt: i32,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Ticket {
    pub(super) available_at: Millis,
    pub(super) lane: String,
}

const ROWS: &str = "
    select jsonb_build_object(
        'jobs', (select coalesce(jsonb_agg(jsonb_build_object(
            'state', state, 'attempt', attempt, 'failures', failures, 'worker_deaths', worker_deaths,
            'leased', lease_token is not null, 'cost', cost::text, 'artifact_count', artifacts,
            'failure', failure_class,
            'avoid', case when avoid_worker is not null
                then jsonb_build_object('worker', avoid_worker, 'until', test_clock.ms(avoid_until)) end,
            'available_at', test_clock.ms(available_at), 'deadline', test_clock.ms(deadline),
            'created_at', test_clock.ms(created_at), 'started_at', test_clock.ms(started_at),
            'finished_at', test_clock.ms(finished_at), 'deleted', deleted_at is not null,
            'attempts', (select coalesce(jsonb_agg(jsonb_build_object(
                'worker', worker_id, 'state', a.state, 'failure', a.failure_class,
                'leased_at', test_clock.ms(leased_at), 'expires_at', test_clock.ms(lease_expires_at),
                'finished_at', test_clock.ms(a.finished_at)) order by number), '[]')
                from attempts a where a.job_id = j.id),
            'artifacts', (select coalesce(jsonb_agg(jsonb_build_object(
                'index', index, 'attempt', f.attempt) order by index), '[]')
                from artifacts f where f.job_id = j.id),
            'events', (select coalesce(jsonb_agg(d.event), '[]') from webhook_deliveries d where d.job_id = j.id)
            ) order by id), '[]') from jobs j),
        'versions', (select coalesce(jsonb_agg(version order by id), '[]') from jobs),
        'outbox', (select coalesce(jsonb_agg(jsonb_build_object(
            'lane', lane, 'available_at', test_clock.ms(available_at)) order by available_at, lane), '[]')
            from outbox))";

impl Rows {
    pub(super) async fn read(pool: &PgPool) -> Self {
        let Json(mut rows): Json<Self> = sqlx::query_scalar(ROWS).fetch_one(pool).await.unwrap();
        rows.outbox.sort();
        rows
    }
}
