use darkroom_jobs::Warning;
use darkroom_store::testing::TestDatabase;
use darkroom_store::{JobFilter, Outcome, Recorded, Settled};

use crate::builder::{TestWorker, accept, let_leases_expire, new_job, record, tenant};

fn truncated(dropped: &str) -> Warning {
    Warning::prompt_truncated("text_encoder", dropped, 77)
}

#[tokio::test]
async fn warnings_are_shown_in_the_order_of_their_arrival() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    let before = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!(before.warnings, []);
    for dropped in ["on a mat", "in a hat"] {
        assert_eq!(store.record_warning(&leased.lease, &truncated(dropped)).await.unwrap(), Recorded::Stored);
    }
    let job = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!(job.warnings, [truncated("on a mat"), truncated("in a hat")]);
    assert!(job.version > before.version, "who waits for a change hears of it");
    let listed = store.jobs(owner, &JobFilter { limit: 1, ..JobFilter::default() }).await.unwrap();
    assert_eq!(listed[0].warnings, job.warnings);
    database.drop_database().await;
}

#[tokio::test]
async fn a_retry_does_not_repeat_a_warning() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let worker = TestWorker::start(store).await;
    let first = worker.take(store).await;
    store.record_warning(&first.lease, &truncated("on a mat")).await.unwrap();
    store.record_warning(&first.lease, &truncated("on a mat")).await.unwrap();
    assert_eq!(store.settle(&first.lease, &Outcome::Released, 1).await.unwrap(), Settled::Done);
    let second = worker.take(store).await;
    store.record_warning(&second.lease, &truncated("on a mat")).await.unwrap();
    assert_eq!(store.job(owner, id).await.unwrap().unwrap().warnings, [truncated("on a mat")]);
    database.drop_database().await;
}

#[tokio::test]
async fn a_worker_whose_lease_is_gone_warns_of_nothing() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let worker = TestWorker::start(store).await;
    let lost = worker.take(store).await;
    let_leases_expire(&database).await;
    assert_eq!(store.reap(10, 0.5).await.unwrap().len(), 1);
    assert_eq!(store.record_warning(&lost.lease, &truncated("x")).await.unwrap(), Recorded::LeaseGone);
    assert_eq!(store.job(owner, id).await.unwrap().unwrap().warnings, []);
    database.drop_database().await;
}

#[tokio::test]
async fn sweeping_a_job_deletes_its_warnings() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    store.record_warning(&leased.lease, &truncated("a secret")).await.unwrap();
    record(store, &leased.lease).await;
    let success = Outcome::Succeeded { timings: [].into() };
    assert_eq!(store.settle(&leased.lease, &success, 1).await.unwrap(), Settled::Done);
    store.mark_swept(id).await.unwrap();
    assert_eq!(database.count("select count(*) from job_warnings").await, 0);
    database.drop_database().await;
}
