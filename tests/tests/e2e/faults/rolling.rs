use std::time::Duration;

use darkroom_client::{Client, Error, Job, JobState};
use darkroom_e2e::{Catalog, Deployment, until};
use darkroom_store::MINIMUM_SCHEMA;
use darkroom_store::testing::migration_versions;
use futures_util::{StreamExt as _, stream};

use super::report::seen;
use crate::verify::{nothing_happened_twice, request};

const FAULT: &str = "rolling deploy";

/// What a later release may do to the schema while this one runs: expand it.
const FUTURE: &str = "
    alter table jobs add column future_note text, add column future_rank integer not null default 0;
    alter table attempts add column future_note text;
    alter table artifacts add column future_note text;
    alter table tenants add column future_limit integer check (future_limit >= 0);
    alter table api_keys add column future_note jsonb not null default '{}';
    alter table workers add column future_note text[];
    alter table outbox add column future_note text;
    alter table job_requests add column future_note text;
    alter table jobs drop constraint jobs_state_check, add constraint jobs_state_check
        check (state in ('queued', 'running', 'succeeded', 'failed', 'canceled', 'expired', 'postponed'));
    create table futures (id uuid primary key, job_id uuid references jobs (id) on delete cascade);
    create index jobs_future on jobs (future_rank, created_at);
    insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (9999, 'from the future', true, '', 0);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_a_later_release_migrates() {
    let mut deployment = Deployment::start(&Catalog::fake(2)).await;
    let client = deployment.tenant("a").await;
    let mut worker = deployment.worker().await;
    // Every statement has been prepared on the schema as it was.
    run_all(&client, 0..20).await;
    let ((), jobs) = tokio::join!(
        async {
            deployment.database.execute(FUTURE).await;
        },
        submit_all(&client, 20..60),
    );
    succeeded(&client, jobs).await;
    run_all(&client, 60..80).await;
    worker.ready().await;
    deployment.dispatcher.ready().await;
    deployment.api.ready().await;

    // A machine is restarted before it has the later release.
    drop(worker);
    deployment.api.kill();
    deployment.restart_api().await;
    deployment.restart_dispatcher_with(&[]).await;
    let worker = deployment.worker().await;
    run_all(&client, 80..100).await;
    nothing_happened_twice(&deployment).await;
    assert_eq!(deployment.database.count("select count(*) from jobs where state = 'succeeded'").await, 100);
    seen(
        23,
        FAULT,
        "old services on the new schema",
        "100 jobs before, during and after the migration, one attempt each; services restart on it",
    );
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_services_run_on_the_oldest_schema_they_accept() {
    assert!(migration_versions().contains(&MINIMUM_SCHEMA));
    let mut deployment = Deployment::start(&Catalog::fake(2)).await;
    let client = deployment.tenant("a").await;
    deployment.api.kill();
    deployment.dispatcher.kill();
    deployment.database.store.undo_migrations(MINIMUM_SCHEMA).await.unwrap();
    deployment.restart_api().await;
    deployment.restart_dispatcher_with(&[]).await;
    let worker = deployment.worker().await;
    run_all(&client, 0..20).await;
    nothing_happened_twice(&deployment).await;
    let when = format!("new services on their minimum schema, {MINIMUM_SCHEMA}");
    seen(23, FAULT, &when, "20 jobs, one attempt each");
    drop(worker);
    deployment.end().await;
}

async fn run_all(client: &Client, seeds: std::ops::Range<u64>) {
    let jobs = submit_all(client, seeds).await;
    succeeded(client, jobs).await;
}

/// Submits as a caller does: again after "not now".
async fn submit_all(client: &Client, seeds: std::ops::Range<u64>) -> Vec<Job> {
    let submitted = stream::iter(seeds).map(|seed| async move {
        until("a job is accepted", Duration::from_secs(30), || async {
            match client.submit_text_to_image(&request("a red circle", seed)).await {
                Ok(job) => Some(job),
                Err(Error::Problem(problem)) if problem.status == 503 => None,
                Err(error) => panic!("refused: {error:?}"),
            }
        })
        .await
    });
    submitted.buffer_unordered(4).collect().await
}

async fn succeeded(client: &Client, jobs: Vec<Job>) {
    for job in jobs {
        let ended = client.wait(job.id, Duration::from_secs(60)).await.unwrap();
        assert_eq!((ended.state, ended.attempts), (JobState::Succeeded, 1));
    }
}
