use darkroom_store::testing::TestDatabase;
use darkroom_store::{Accepted, Outcome};

use crate::builder::{TestWorker, accept, let_leases_expire, new_job, record, tenant};

#[tokio::test]
async fn a_job_past_its_retention_vanishes_but_its_key_answers_for_a_day() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let mut job = new_job(owner);
    job.idempotency_key = Some("k".into());
    let id = accept(store, job.clone()).await;
    let leased = TestWorker::start(store).await.take(store).await;
    record(store, &leased.lease).await;
    store.settle(&leased.lease, &Outcome::Succeeded { timings: [].into() }, 1).await.unwrap();
    assert!(store.jobs_to_sweep(0.0, 10).await.unwrap().is_empty());
    database.execute("update jobs set expires_at = now()").await;
    assert!(store.jobs_to_sweep(600.0, 10).await.unwrap().is_empty(), "a late upload may still come");
    assert_eq!(store.jobs_to_sweep(0.0, 10).await.unwrap(), [id]);
    assert_eq!(database.count("select count(*) from job_labels").await, 1);
    store.mark_swept(id).await.unwrap();
    assert!(store.jobs_to_sweep(0.0, 10).await.unwrap().is_empty());
    assert!(store.job(owner, id).await.unwrap().is_none());
    for table in ["artifacts", "job_labels"] {
        assert_eq!(database.count(&format!("select count(*) from {table}")).await, 0, "{table}");
    }

    assert_eq!(store.delete_swept_jobs(10).await.unwrap(), 0);
    assert!(matches!(store.accept(&job).await.unwrap(), Accepted::Deleted));
    database.execute("update jobs set created_at = now() - interval '25 hours', finished_at = now() - interval '24 hours'").await;
    assert_eq!(store.delete_swept_jobs(10).await.unwrap(), 1);
    assert!(matches!(store.accept(&job).await.unwrap(), Accepted::Created(_)));
    database.drop_database().await;
}

#[tokio::test]
async fn an_unfinished_job_is_not_swept() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, new_job(owner)).await;
    database.execute("update jobs set expires_at = now()").await;
    assert!(store.jobs_to_sweep(0.0, 10).await.unwrap().is_empty());
    database.drop_database().await;
}

#[tokio::test]
async fn a_closed_attempt_is_swept_once_and_keeps_what_artifacts_name() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    record(store, &leased.lease).await;
    let_leases_expire(&database).await;
    store.reap(10, 0.5).await.unwrap();
    assert!(store.attempts_to_sweep(600.0, 10).await.unwrap().is_empty(), "a late upload may still come");
    let closed = store.attempts_to_sweep(0.0, 10).await.unwrap();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].named, [format!("jobs/{}/1/0.png", leased.lease.job)]);
    store.mark_attempt_swept(closed[0].job, closed[0].attempt).await.unwrap();
    assert!(store.attempts_to_sweep(0.0, 10).await.unwrap().is_empty());
    database.drop_database().await;
}
