//! What has to hold when nobody does anything any more.

use darkroom_jobs::{AttemptState, JobId, JobState};
use darkroom_store::{LeaseRequest, Outcome};
use proptest::prelude::*;
use sqlx::PgPool;

use super::actor::Claim;
use crate::builder::{lane, picture, token};
use crate::model::attempts::JITTER;
use crate::model::step::Worker;
use crate::model::system::System;

/// Writes down every change of a job's state, and refuses a lease beyond what the tenant may run.
pub(super) async fn witness(tables: &PgPool) {
    let sql = "
        create table public.changes (job uuid references jobs on delete cascade, old text, new text);
        create function public.witness() returns trigger language plpgsql as $$
            begin
                insert into changes values (old.id, old.state, new.state);
                if new.state = 'running' and running_jobs(new.tenant_id) >
                    (select max_running from tenants where id = new.tenant_id)
                then
                    raise exception 'a tenant runs more than it may';
                end if;
                return new;
            end $$;
        create trigger witness after update on jobs
            for each row when (old.state <> new.state) execute function witness();";
    sqlx::raw_sql(sql).execute(tables).await.unwrap();
}

/// Lets one worker run whatever is left, until every job is final.
pub(super) async fn finish(system: &System) -> Result<(), TestCaseError> {
    let store = &system.store;
    let lanes = [lane("m")];
    let free = "
        update attempts set lease_expires_at = now() - interval '1 second' where state = 'running';
        update jobs set available_at = now(), avoid_worker = null where state = 'queued';";
    for _ in 0..100 {
        sqlx::raw_sql(free).execute(&system.tables).await.unwrap();
        store.reap(100, JITTER).await.unwrap();
        store.expire(100).await.unwrap();
        sqlx::raw_sql(free).execute(&system.tables).await.unwrap();
        let request = LeaseRequest { worker: Worker(1).id(), token: token(), lanes: &lanes, loaded: &lanes };
        let Some(leased) = store.lease(&request).await.unwrap() else { break };
        store.record_artifact(&leased.lease, &picture(&leased.lease, 0)).await.unwrap();
        store.settle(&leased.lease, &Outcome::Succeeded { timings: [].into() }, 1).await.unwrap();
    }
    let left: i64 = sqlx::query_scalar("select count(*) from jobs where state in ('queued', 'running')")
        .fetch_one(&system.tables)
        .await
        .unwrap();
    prop_assert_eq!(left, 0, "jobs that never end");
    Ok(())
}

/// Each is a statement about all jobs and its name; the query counts what breaks it.
const RULES: [(&str, &str); 9] = [
    (
        "a job becomes final once",
        "select count(*) from (
            select from jobs j left join changes c on c.job = j.id and c.new not in ('queued', 'running')
            group by j.id having count(c.job) <> 1) broken",
    ),
    ("every attempt is closed", "select count(*) from attempts where state = 'running'"),
    (
        "one attempt wins, and only where the job succeeded",
        "select count(*) from jobs j where (j.state = 'succeeded')::int <>
            (select count(*) from attempts a where a.job_id = j.id and a.state = 'succeeded')",
    ),
    (
        "attempts are numbered without a gap",
        "select count(*) from jobs j where j.attempt <>
            (select count(*) from attempts a where a.job_id = j.id and a.number between 1 and j.attempt)",
    ),
    (
        "failures are the failed and lost attempts, and no more than allowed",
        "select count(*) from jobs j where j.failures > j.max_attempts or j.failures <>
            (select count(*) from attempts a where a.job_id = j.id and a.state in ('failed', 'lost'))",
    ),
    (
        "a job is charged on success, with its result",
        "select count(*) from jobs j
         where (j.state = 'succeeded') <> (j.cost is not null) or j.cost <> j.price
            or (j.state = 'succeeded' and (select count(*) from artifacts a where a.job_id = j.id) <> 1)",
    ),
    (
        "a job gets a ticket whenever it is queued",
        "select count(*) from (select) once
         where (select count(*) from outbox) <>
            (select count(*) from jobs) + (select count(*) from changes where new = 'queued')",
    ),
    (
        "webhooks are told of every end once",
        "select count(*) from jobs j join webhooks w using (tenant_id)
         where (select array_agg(d.event) from webhook_deliveries d where d.job_id = j.id and d.webhook_id = w.id)
            is distinct from array['job.' || j.state]",
    ),
    (
        "a key stands for one job",
        "select greatest(count(*) - 1, 0) from jobs where idempotency_key is not null",
    ),
];

pub(super) async fn check_jobs(tables: &PgPool) -> Result<(), TestCaseError> {
    for (rule, broken) in RULES {
        let broken: i64 = sqlx::query_scalar(broken).fetch_one(tables).await.unwrap();
        prop_assert_eq!(broken, 0, "{}", rule);
    }
    Ok(())
}

/// Whether what the store said is still so.
pub(super) async fn check_claim(tables: &PgPool, claim: &Claim) -> Result<(), TestCaseError> {
    match *claim {
        Claim::Attempt(lease, state) => {
            prop_assert_eq!(attempt(tables, lease).await, state, "{:?}", claim);
        }
        Claim::NotAttempt(lease, state) => {
            prop_assert_ne!(attempt(tables, lease).await, state, "{:?}", claim);
        }
        Claim::Over(lease) => {
            let state = attempt(tables, lease).await;
            prop_assert!(state.is_final(), "{claim:?}: {state}");
        }
        Claim::Recorded(job, index) => {
            let found: i64 =
                sqlx::query_scalar("select count(*) from artifacts where job_id = $1 and index = $2")
                    .bind(job.as_uuid())
                    .bind(i32::try_from(index).unwrap())
                    .fetch_one(tables)
                    .await
                    .unwrap();
            prop_assert_eq!(found, 1, "{:?}", claim);
        }
        Claim::Job(job, state) => prop_assert_eq!(job_state(tables, job).await, state, "{:?}", claim),
        Claim::Ended(job) => {
            let state = job_state(tables, job).await;
            prop_assert!(matches!(state, JobState::Canceled | JobState::Expired), "{claim:?}: {state}");
        }
        Claim::Key(job) => {
            let found: uuid::Uuid =
                sqlx::query_scalar("select id from jobs where idempotency_key = 'shared'")
                    .fetch_one(tables)
                    .await
                    .unwrap();
            prop_assert_eq!(found, job.as_uuid(), "{:?}", claim);
        }
    }
    Ok(())
}

async fn attempt(tables: &PgPool, lease: darkroom_store::Lease) -> AttemptState {
    let found: String = sqlx::query_scalar("select state from attempts where lease_token = $1")
        .bind(lease.token.as_uuid())
        .fetch_one(tables)
        .await
        .unwrap();
    found.parse().unwrap()
}

async fn job_state(tables: &PgPool, job: JobId) -> JobState {
    let found: String = sqlx::query_scalar("select state from jobs where id = $1")
        .bind(job.as_uuid())
        .fetch_one(tables)
        .await
        .unwrap();
    found.parse().unwrap()
}
