use darkroom_jobs::JobState;
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Beat, Canceled, Deleted, Outcome, Pulse, Recorded, Settled};

use crate::builder::{TestWorker, accept, new_job, record, tenant};

#[tokio::test]
async fn a_canceled_job_is_final_at_once_and_its_worker_hears_of_it() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    assert_eq!(store.cancel(owner, id).await.unwrap(), Canceled::Done);
    assert_eq!(store.cancel(owner, id).await.unwrap(), Canceled::AlreadyFinal);
    let beat = Beat { lease: leased.lease, progress: None };
    assert_eq!(store.heartbeat(&[beat]).await.unwrap(), [(leased.lease, Pulse::Ended)]);
    assert_eq!(record(store, &leased.lease).await, Recorded::LeaseGone);
    let success = Outcome::Succeeded { timings: [].into() };
    assert_eq!(store.settle(&leased.lease, &success, 1).await.unwrap(), Settled::LeaseGone);
    assert_eq!(store.job(owner, id).await.unwrap().unwrap().state, JobState::Canceled);
    database.drop_database().await;
}

#[tokio::test]
async fn a_queued_job_that_was_canceled_is_never_leased() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    assert_eq!(store.cancel(owner, id).await.unwrap(), Canceled::Done);
    assert!(TestWorker::start(store).await.lease(store).await.is_none());
    database.drop_database().await;
}

#[tokio::test]
async fn nobody_cancels_or_deletes_anothers_job() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (a, b) = (tenant(store, "a").await, tenant(store, "b").await);
    let id = accept(store, new_job(a)).await;
    assert_eq!(store.cancel(b, id).await.unwrap(), Canceled::NotFound);
    assert_eq!(store.delete(b, id).await.unwrap(), Deleted::NotFound);
    assert_eq!(store.job(a, id).await.unwrap().unwrap().state, JobState::Queued);
    database.drop_database().await;
}

#[tokio::test]
async fn only_final_jobs_are_deleted_and_then_nobody_sees_them() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    record(store, &leased.lease).await;
    assert_eq!(store.delete(owner, id).await.unwrap(), Deleted::NotFinal);
    store.settle(&leased.lease, &Outcome::Succeeded { timings: [].into() }, 1).await.unwrap();
    let artifact = store.job(owner, id).await.unwrap().unwrap().artifacts[0].id;
    assert!(store.artifact_object(artifact).await.unwrap().is_some());
    assert_eq!(store.delete(owner, id).await.unwrap(), Deleted::Done);
    assert_eq!(store.delete(owner, id).await.unwrap(), Deleted::NotFound);
    assert!(store.job(owner, id).await.unwrap().is_none());
    assert!(store.artifact_object(artifact).await.unwrap().is_none());
    database.drop_database().await;
}

#[tokio::test]
async fn cancel_and_settle_at_once_leave_one_final_state() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let worker = TestWorker::start(store).await;
    for _ in 0..50 {
        let id = accept(store, new_job(owner)).await;
        let leased = worker.take(store).await;
        record(store, &leased.lease).await;
        let success = Outcome::Succeeded { timings: [].into() };
        let (canceled, settled) =
            tokio::join!(store.cancel(owner, id), store.settle(&leased.lease, &success, 1));
        let state = store.job(owner, id).await.unwrap().unwrap().state;
        match (canceled.unwrap(), settled.unwrap()) {
            (Canceled::Done, Settled::LeaseGone) => assert_eq!(state, JobState::Canceled),
            (Canceled::AlreadyFinal, Settled::Done) => assert_eq!(state, JobState::Succeeded),
            other => panic!("both or neither won: {other:?}"),
        }
    }
    database.drop_database().await;
}

#[tokio::test]
async fn cancel_and_lease_at_once_leave_no_attempt_running() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let worker = TestWorker::start(store).await;
    for _ in 0..50 {
        let id = accept(store, new_job(owner)).await;
        let (canceled, leased) = tokio::join!(store.cancel(owner, id), worker.lease(store));
        assert_eq!(canceled.unwrap(), Canceled::Done);
        assert_eq!(store.job(owner, id).await.unwrap().unwrap().state, JobState::Canceled);
        if let Some(leased) = leased {
            let beat = Beat { lease: leased.lease, progress: None };
            assert_eq!(store.heartbeat(&[beat]).await.unwrap(), [(leased.lease, Pulse::Ended)]);
        }
        assert_eq!(database.count("select count(*) from attempts where state = 'running'").await, 0);
    }
    database.drop_database().await;
}
