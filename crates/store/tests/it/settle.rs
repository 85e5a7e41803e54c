use std::time::Duration;

use darkroom_jobs::{Failure, FailureClass, JobState, Retry};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Beat, Outcome, Progress, Pulse, Recorded, Settled};

use crate::builder::{TestWorker, accept, let_leases_expire, new_job, picture, record, tenant};

fn success() -> Outcome {
    Outcome::Succeeded { timings: [("inference_ms".to_owned(), 12.5)].into() }
}

fn failure(retry: Retry) -> Outcome {
    Outcome::Failed { failure: Failure::new(FailureClass::Infrastructure, "no store"), retry, avoid: None }
}

#[tokio::test]
async fn a_job_succeeds_once_every_artifact_is_recorded() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    assert_eq!(store.settle(&leased.lease, &success(), 1).await.unwrap(), Settled::Incomplete);
    assert_eq!(record(store, &leased.lease).await, Recorded::Stored);
    assert_eq!(store.settle(&leased.lease, &success(), 1).await.unwrap(), Settled::Done);
    let job = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(job.cost, Some(job.price));
    assert_eq!(job.artifacts.len(), 1);
    assert_eq!(job.timings.unwrap()["inference_ms"], 12.5);
    database.drop_database().await;
}

#[tokio::test]
async fn settling_again_after_a_lost_reply_changes_nothing() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    record(store, &leased.lease).await;
    store.settle(&leased.lease, &success(), 1).await.unwrap();
    let version = store.job(owner, id).await.unwrap().unwrap().version;
    assert_eq!(store.settle(&leased.lease, &success(), 1).await.unwrap(), Settled::Done);
    assert_eq!(store.settle(&leased.lease, &Outcome::Released, 1).await.unwrap(), Settled::LeaseGone);
    assert_eq!(store.job(owner, id).await.unwrap().unwrap().version, version);
    database.drop_database().await;
}

#[tokio::test]
async fn the_last_artifact_and_the_end_are_one_change() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    let (lease, timings) = (&leased.lease, [("inference_ms".to_owned(), 12.5)].into());
    let early = store.finish(lease, &picture(lease, 1), &timings, 3).await.unwrap();
    assert_eq!(early, Settled::Incomplete, "another one is missing");
    let before = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!((before.state, before.artifacts.len()), (JobState::Running, 1));

    let last = picture(lease, 0);
    for _ in 0..2 {
        assert_eq!(store.finish(lease, &last, &timings, 2).await.unwrap(), Settled::Done);
        let job = store.job(owner, id).await.unwrap().unwrap();
        assert_eq!(
            (job.state, job.version, job.cost),
            (JobState::Succeeded, before.version + 1, Some(job.price))
        );
        assert_eq!(job.artifacts.iter().map(|artifact| artifact.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((job.artifacts[0].id, job.artifacts[0].sha256.clone()), (last.id, last.sha256.to_vec()));
    }
    database.drop_database().await;
}

#[tokio::test]
async fn a_last_artifact_that_is_recorded_already_is_no_hindrance() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    record(store, &leased.lease).await;
    let again = picture(&leased.lease, 0);
    assert_eq!(store.finish(&leased.lease, &again, &[].into(), 1).await.unwrap(), Settled::Done);
    assert_eq!(store.job(owner, id).await.unwrap().unwrap().artifacts.len(), 1);
    database.drop_database().await;
}

#[tokio::test]
async fn a_reaped_lease_changes_nothing() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    let_leases_expire(&database).await;
    assert_eq!(store.reap(10, 0.5).await.unwrap().len(), 1);
    let before = store.job(owner, id).await.unwrap().unwrap();
    let finished = store.finish(&leased.lease, &picture(&leased.lease, 0), &[].into(), 1).await.unwrap();
    assert_eq!(finished, Settled::LeaseGone);
    assert_eq!(before.state, JobState::Queued);

    assert_eq!(record(store, &leased.lease).await, Recorded::LeaseGone);
    for outcome in [success(), failure(Retry::Never), Outcome::Released] {
        assert_eq!(store.settle(&leased.lease, &outcome, 1).await.unwrap(), Settled::LeaseGone);
    }
    let beat = Beat { lease: leased.lease, progress: None };
    assert_eq!(store.heartbeat(&[beat]).await.unwrap(), [(leased.lease, Pulse::Lost)]);

    let after = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!((after.version, after.state, after.artifacts.len()), (before.version, before.state, 0));
    database.drop_database().await;
}

#[tokio::test]
async fn an_expired_lease_that_nobody_took_back_still_counts() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    let_leases_expire(&database).await;
    let beat = Beat { lease: leased.lease, progress: None };
    assert_eq!(store.heartbeat(&[beat]).await.unwrap(), [(leased.lease, Pulse::Held)]);
    assert!(store.reap(10, 0.5).await.unwrap().is_empty());
    record(store, &leased.lease).await;
    assert_eq!(store.settle(&leased.lease, &success(), 1).await.unwrap(), Settled::Done);
    database.drop_database().await;
}

#[tokio::test]
async fn a_heartbeat_carries_progress_and_changes_no_version() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    let before = store.job(owner, id).await.unwrap().unwrap();
    let progress = Progress { image: 0, images: 1, step: 3, steps: 4 };
    store.heartbeat(&[Beat { lease: leased.lease, progress: Some(progress) }]).await.unwrap();
    store.heartbeat(&[Beat { lease: leased.lease, progress: None }]).await.unwrap();
    let after = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!((after.progress, after.version), (Some(progress), before.version));
    database.drop_database().await;
}

#[tokio::test]
async fn a_failed_attempt_is_retried_and_the_last_one_fails_the_job() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let worker = TestWorker::start(store).await;
    let first = worker.take(store).await;
    store.settle(&first.lease, &failure(Retry::After(Duration::ZERO)), 1).await.unwrap();
    assert_eq!(store.job(owner, id).await.unwrap().unwrap().state, JobState::Queued);
    assert_eq!(database.count("select count(*) from outbox").await, 2);
    let second = worker.take(store).await;
    store.settle(&second.lease, &failure(Retry::Exhausted), 1).await.unwrap();
    let job = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!((job.state, job.failures, job.attempts, job.cost), (JobState::Failed, 2, 2, None));
    let failure = job.failure.unwrap();
    assert_eq!(failure.class, FailureClass::Poison);
    assert_eq!(failure.message, "no attempt is left, the last one ended so: no store");
    database.drop_database().await;
}

#[tokio::test]
async fn a_released_attempt_counts_as_no_failure_and_keeps_its_artifacts() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, new_job(owner)).await;
    let worker = TestWorker::start(store).await;
    let first = worker.take(store).await;
    record(store, &first.lease).await;
    assert_eq!(store.settle(&first.lease, &Outcome::Released, 1).await.unwrap(), Settled::Done);
    let second = worker.take(store).await;
    assert_eq!((second.lease.job, second.lease.attempt, second.failures), (id, 2, 0));
    assert_eq!(second.done, [0]);
    database.drop_database().await;
}
