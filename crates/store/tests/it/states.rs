use std::time::Duration;

use darkroom_jobs::{Failure, FailureClass, JobState, Retry};
use darkroom_store::Outcome;
use darkroom_store::testing::TestDatabase;

use crate::builder::{TestWorker, accept, let_backoffs_end, let_leases_expire, new_job, record, tenant};

/// Writes every change of a job's state down, whichever statement makes it.
const WITNESS: &str = "
    create table seen (old text, new text);
    create function witness() returns trigger language plpgsql as
        $$ begin insert into seen values (old.state, new.state); return new; end $$;
    create trigger witness after update on jobs
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

    for &old in JobState::ALL {
        for &new in JobState::ALL.iter().filter(|&&new| new != old) {
            let seen = format!("select count(*) from seen where old = '{old}' and new = '{new}'");
            assert_eq!(database.count(&seen).await > 0, old.may_become(new), "{old} to {new}");
        }
    }
    database.drop_database().await;
}
