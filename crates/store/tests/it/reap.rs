use std::time::Duration;

use darkroom_jobs::{FailureClass, JobState};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Beat, Pulse};

use crate::builder::{
    TestWorker, accept, let_backoffs_end, let_leases_expire, new_job, tenant, with_deadline,
};

#[tokio::test]
async fn a_lost_attempt_is_retried_by_another_worker() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    TestWorker::start(store).await.take(store).await;
    assert!(store.reap(10, 0.5).await.unwrap().is_empty(), "the lease still holds");
    let_leases_expire(&database).await;
    let reaped = store.reap(10, 0.5).await.unwrap();
    assert!(reaped[0].requeued && !reaped[0].worker_died);
    assert!(store.reap(10, 0.5).await.unwrap().is_empty());
    let_backoffs_end(&database).await;
    let second = TestWorker::start(store).await.take(store).await;
    assert_eq!((second.lease.job, second.lease.attempt, second.failures), (id, 2, 1));
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_on_which_two_workers_died_fails_as_poison() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    for died in 1..=2 {
        TestWorker::start(store).await.take(store).await;
        database.execute("update workers set last_seen_at = now() - interval '1 minute'").await;
        let_leases_expire(&database).await;
        let reaped = store.reap(10, 0.5).await.unwrap();
        assert!(reaped[0].worker_died);
        assert_eq!(reaped[0].requeued, died == 1);
        let_backoffs_end(&database).await;
    }
    let job = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.failure.unwrap().class, FailureClass::Poison);
    database.drop_database().await;
}

#[tokio::test]
async fn lost_attempts_end_after_the_allowed_number() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let worker = TestWorker::start(store).await;
    for _ in 0..4 {
        worker.take(store).await;
        let_leases_expire(&database).await;
        store.reap(10, 0.5).await.unwrap();
        let_backoffs_end(&database).await;
    }
    assert!(worker.lease(store).await.is_none());
    let job = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!((job.state, job.failures), (JobState::Failed, 4));
    database.drop_database().await;
}

#[tokio::test]
async fn two_reapers_take_an_attempt_back_once() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let worker = TestWorker::start(store).await;
    for _ in 0..20 {
        accept(store, new_job(owner)).await;
        worker.take(store).await;
    }
    let_leases_expire(&database).await;
    let (a, b) = tokio::join!(store.reap(100, 0.5), store.reap(100, 0.5));
    // What one of them holds the other skips, and would find in its next round.
    assert_eq!(a.unwrap().len() + b.unwrap().len(), 20);
    assert_eq!(database.count("select count(*) from attempts where state = 'lost'").await, 20);
    assert_eq!(database.count("select sum(failures)::bigint from jobs").await, 20);
    database.drop_database().await;
}

#[tokio::test]
async fn a_deadline_ends_queued_and_running_jobs() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let running = accept(store, with_deadline(new_job(owner), Duration::from_secs(60))).await;
    let leased = TestWorker::start(store).await.take(store).await;
    let queued = accept(store, with_deadline(new_job(owner), Duration::from_secs(60))).await;
    let patient = accept(store, new_job(owner)).await;
    assert!(store.expire(10).await.unwrap().is_empty());
    database.execute(&format!("update jobs set deadline = now() where id <> '{patient}'")).await;
    let mut expired = store.expire(10).await.unwrap();
    expired.sort();
    assert_eq!(expired, [running, queued]);
    for id in [running, queued] {
        assert_eq!(store.job(owner, id).await.unwrap().unwrap().state, JobState::Expired);
    }
    let beat = Beat { lease: leased.lease, progress: None };
    assert_eq!(store.heartbeat(&[beat]).await.unwrap(), [(leased.lease, Pulse::Ended)]);
    assert_eq!(store.job(owner, patient).await.unwrap().unwrap().state, JobState::Queued);
    database.drop_database().await;
}
