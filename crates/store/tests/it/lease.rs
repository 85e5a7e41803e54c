use std::collections::HashSet;
use std::time::Duration;

use darkroom_jobs::{Failure, FailureClass, JobState, Priority, Retry};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{LeaseRequest, Outcome, Settled};

use crate::builder::{
    TestWorker, accept, in_lane, lane, let_backoffs_end, new_job, record, tenant, token, with_deadline,
    with_priority,
};

#[tokio::test]
async fn jobs_of_one_tenant_are_leased_first_in_first_out() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let first = accept(store, new_job(owner)).await;
    let second = accept(store, new_job(owner)).await;
    let worker = TestWorker::start(store).await;
    assert_eq!(worker.take(store).await.lease.job, first);
    assert_eq!(worker.take(store).await.lease.job, second);
    assert!(worker.lease(store).await.is_none());
    let job = store.job(owner, first).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts, job.version), (JobState::Running, 1, 2));
    database.drop_database().await;
}

#[tokio::test]
async fn five_hundred_jobs_of_one_tenant_do_not_delay_anothers_single_job() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (many, single) = (tenant(store, "many").await, tenant(store, "single").await);
    for _ in 0..500 {
        accept(store, new_job(many)).await;
    }
    let worker = TestWorker::start(store).await;
    let running = worker.take(store).await;
    let wanted = accept(store, new_job(single)).await;
    // One slot: the worker settles before it asks again.
    record(store, &running.lease).await;
    let outcome = Outcome::Succeeded { timings: [].into() };
    assert_eq!(store.settle(&running.lease, &outcome, 1).await.unwrap(), Settled::Done);
    assert_eq!(worker.take(store).await.lease.job, wanted);
    database.drop_database().await;
}

#[tokio::test]
async fn two_tenants_take_turns() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (a, b) = (tenant(store, "a").await, tenant(store, "b").await);
    for _ in 0..4 {
        accept(store, new_job(a)).await;
    }
    for _ in 0..4 {
        accept(store, new_job(b)).await;
    }
    let worker = TestWorker::start(store).await;
    let mut order = Vec::new();
    for _ in 0..8 {
        order.push(worker.take(store).await.tenant);
    }
    assert!(order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
    database.drop_database().await;
}

#[tokio::test]
async fn priority_goes_first_until_waiting_has_raised_the_other() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let background = accept(store, with_priority(new_job(owner), Priority::Background)).await;
    let normal = accept(store, new_job(owner)).await;
    let interactive = accept(store, with_priority(new_job(owner), Priority::Interactive)).await;
    let worker = TestWorker::start(store).await;
    assert_eq!(worker.take(store).await.lease.job, interactive);
    database
        .execute(&format!(
            "update jobs set created_at = now() - interval '20 minutes' where id = '{background}'"
        ))
        .await;
    assert_eq!(worker.take(store).await.lease.job, background);
    assert_eq!(worker.take(store).await.lease.job, normal);
    database.drop_database().await;
}

#[tokio::test]
async fn a_loaded_model_goes_first_until_the_other_has_waited_long_enough() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let cold = accept(store, in_lane(new_job(owner), "cold")).await;
    let warm_1 = accept(store, in_lane(new_job(owner), "warm")).await;
    let warm_2 = accept(store, in_lane(new_job(owner), "warm")).await;
    let mut worker = TestWorker::start(store).await;
    worker.lanes = vec![lane("cold"), lane("warm")];
    worker.loaded = vec![lane("warm")];
    assert_eq!(worker.take(store).await.lease.job, warm_1);
    database
        .execute(&format!("update jobs set created_at = now() - interval '20 seconds' where id = '{cold}'"))
        .await;
    assert_eq!(worker.take(store).await.lease.job, cold);
    assert_eq!(worker.take(store).await.lease.job, warm_2);
    database.drop_database().await;
}

#[tokio::test]
async fn only_jobs_of_served_lanes_are_leased() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, in_lane(new_job(owner), "other")).await;
    let worker = TestWorker::start(store).await;
    assert!(worker.lease(store).await.is_none());
    database.drop_database().await;
}

#[tokio::test]
async fn workers_that_ask_at_once_get_different_jobs() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for _ in 0..40 {
        accept(store, new_job(owner)).await;
    }
    let mut asking = Vec::new();
    for _ in 0..40 {
        let store = store.clone();
        asking.push(tokio::spawn(async move { TestWorker::start(&store).await.lease(&store).await }));
    }
    let mut jobs = HashSet::new();
    for answer in asking {
        // All ask for the head of one tenant: whoever finds it locked takes the one behind it.
        jobs.insert(answer.await.unwrap().expect("as many jobs as workers").lease.job);
    }
    assert_eq!(jobs.len(), 40);
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_in_backoff_lets_the_ones_behind_it_pass() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let failing = accept(store, new_job(owner)).await;
    let next = accept(store, new_job(owner)).await;
    let worker = TestWorker::start(store).await;
    let leased = worker.take(store).await;
    let failure = Failure::new(FailureClass::Infrastructure, "the blob store is down");
    let retry = Retry::After(Duration::from_secs(60));
    let outcome = Outcome::Failed { failure, retry, avoid: None };
    assert_eq!(store.settle(&leased.lease, &outcome, 1).await.unwrap(), Settled::Done);
    assert_eq!(worker.take(store).await.lease.job, next);
    assert!(worker.lease(store).await.is_none());
    let_backoffs_end(&database).await;
    let again = worker.take(store).await;
    assert_eq!((again.lease.job, again.lease.attempt, again.failures), (failing, 2, 1));
    database.drop_database().await;
}

#[tokio::test]
async fn a_worker_that_ran_out_of_memory_leaves_the_job_to_others() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let job = accept(store, new_job(owner)).await;
    let small = TestWorker::start(store).await;
    let large = TestWorker::start(store).await;
    let leased = small.take(store).await;
    let failure = Failure::new(FailureClass::OutOfMemory, "out of memory");
    let outcome = Outcome::Failed { failure, retry: Retry::After(Duration::ZERO), avoid: Some(small.id) };
    store.settle(&leased.lease, &outcome, 1).await.unwrap();
    let_backoffs_end(&database).await;
    assert!(small.lease(store).await.is_none());
    assert_eq!(large.take(store).await.lease.job, job);
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_past_its_deadline_is_not_leased() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, with_deadline(new_job(owner), Duration::from_secs(60))).await;
    database.execute("update jobs set deadline = now() - interval '1 second'").await;
    let worker = TestWorker::start(store).await;
    assert!(worker.lease(store).await.is_none());
    database.drop_database().await;
}

#[tokio::test]
async fn a_lease_whose_answer_was_lost_is_found_by_its_token() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let job = accept(store, new_job(owner)).await;
    let worker = TestWorker::start(store).await;
    let token = token();
    let request = LeaseRequest { worker: worker.id, token, lanes: &worker.lanes, loaded: &[] };
    store.lease(&request).await.unwrap();
    let found = store.find_lease(token).await.unwrap().expect("the lease was granted");
    assert_eq!((found.lease.job, found.lease.attempt), (job, 1));
    assert!(store.find_lease(crate::builder::token()).await.unwrap().is_none());
    database.drop_database().await;
}
