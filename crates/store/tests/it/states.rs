use std::fmt::Display;
use std::time::Duration;

use darkroom_jobs::{AttemptState, Failure, FailureClass, JobState, Retry};
use darkroom_store::Outcome;
use darkroom_store::testing::TestDatabase;
use sqlx::{Connection as _, PgConnection};

use crate::builder::{TestWorker, accept, let_backoffs_end, let_leases_expire, new_job, record, tenant};

/// Writes every change of a state down, whichever statement makes it.
const WITNESS: &str = "
    create table seen (whose text, old text, new text);
    create function witness() returns trigger language plpgsql as
        $$ begin insert into seen values (tg_table_name, old.state, new.state); return new; end $$;
    create trigger witness after update on jobs
        for each row when (old.state <> new.state) execute function witness();
    create trigger witness after update on attempts
        for each row when (old.state <> new.state) execute function witness();";

fn failed(retry: Retry) -> Outcome {
    Outcome::Failed { failure: Failure::new(FailureClass::Infrastructure, "no store"), retry, avoid: None }
}

#[tokio::test]
async fn statements_change_states_as_the_state_machine_allows() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    database.execute(WITNESS).await;
    let owner = tenant(store, "a").await;
    let worker = TestWorker::start(store).await;

    let succeeded = Outcome::Succeeded { timings: [].into() };
    for outcome in [succeeded, failed(Retry::After(Duration::ZERO)), failed(Retry::Never), Outcome::Released]
    {
        accept(store, new_job(owner)).await;
        let leased = worker.take(store).await;
        record(store, &leased.lease).await;
        store.settle(&leased.lease, &outcome, 1).await.unwrap();
        let_backoffs_end(&database).await;
        // What went back to the queue ends here, so that the next round leases its own job.
        store.cancel(owner, leased.lease.job).await.unwrap();
    }
    let running = accept(store, new_job(owner)).await;
    worker.take(store).await;
    store.cancel(owner, running).await.unwrap();
    accept(store, new_job(owner)).await;
    worker.take(store).await;
    let_leases_expire(&database).await;
    store.reap(10, 0.5).await.unwrap();
    database.execute("update jobs set deadline = now() where state = 'queued'").await;
    store.expire(10).await.unwrap();
    accept(store, new_job(owner)).await;
    worker.take(store).await;
    database.execute("update jobs set deadline = now() where state = 'running'").await;
    store.expire(10).await.unwrap();

    assert_seen(&database, "jobs", JobState::ALL, JobState::may_become).await;
    assert_seen(&database, "attempts", AttemptState::ALL, AttemptState::may_become).await;
    database.drop_database().await;
}

/// Asserts that every change that may be was seen, and no other.
async fn assert_seen<S: Copy + Display + PartialEq>(
    database: &TestDatabase,
    table: &str,
    states: &[S],
    may_become: fn(S, S) -> bool,
) {
    for &old in states {
        for &new in states.iter().filter(|&&new| new != old) {
            let seen = format!(
                "select count(*) from seen where whose = '{table}' and old = '{old}' and new = '{new}'"
            );
            assert_eq!(database.count(&seen).await > 0, may_become(old, new), "{table}: {old} to {new}");
        }
    }
}

#[tokio::test]
async fn a_test_database_refuses_what_the_state_machine_does_not_know() {
    let database = TestDatabase::create().await;
    let owner = tenant(&database.store, "a").await;
    accept(&database.store, new_job(owner)).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let mut update = async |state: &str| {
        let sql = "update jobs set state = $1, finished_at = now(), failure_class = case when $1 = 'failed' then 'lost' end";
        sqlx::query(sql).bind(state).execute(&mut connection).await
    };
    let refused = update("failed").await.unwrap_err().to_string();
    assert!(refused.contains("jobs: the state machine leads nowhere from queued to failed"), "{refused}");
    update("canceled").await.unwrap();
    connection.close().await.unwrap();
    database.drop_database().await;
}
