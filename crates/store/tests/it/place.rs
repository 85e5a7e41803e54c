//! Places are compared with the order in which jobs are in fact leased.

use std::collections::HashMap;
use std::time::Duration;

use darkroom_jobs::{JobId, Priority, TenantId};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Blocked, FilesStatus, LeasedJob, ModelStatus, NewWorker, Store};

use crate::builder::{
    TestWorker, accept, in_lane, lane, let_time_pass, new_job, succeed, tenant, with_images, with_priority,
};

/// Jobs that should start before each of these.
async fn predicted(store: &Store, jobs: &[JobId]) -> HashMap<JobId, u64> {
    let backlog = store.backlog().await.unwrap();
    let queued = store.queued(jobs).await.unwrap();
    queued.iter().map(|job| (job.id, backlog.place(job).ahead)).collect()
}

/// The order in which jobs start on so many slots.
async fn order(store: &Store, slots: usize) -> Vec<JobId> {
    let mut worker = TestWorker::start(store).await;
    worker.loaded = vec![lane("m")];
    let mut running: Vec<LeasedJob> = Vec::new();
    let mut order = Vec::new();
    while let Some(leased) = worker.lease(store).await {
        order.push(leased.lease.job);
        running.push(leased);
        if running.len() == slots {
            succeed(store, &running.remove(0)).await;
        }
    }
    for leased in running {
        succeed(store, &leased).await;
    }
    order
}

/// The largest and the mean distance between prediction and truth.
fn error(predicted: &HashMap<JobId, u64>, order: &[JobId]) -> (u64, f64) {
    assert_eq!(predicted.len(), order.len());
    let errors: Vec<u64> =
        order.iter().enumerate().map(|(at, job)| predicted[job].abs_diff(at as u64)).collect();
    (errors.iter().copied().max().unwrap_or(0), errors.iter().sum::<u64>() as f64 / errors.len() as f64)
}

async fn jobs_of(store: &Store, owner: TenantId, class: Priority, count: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.push(accept(store, with_priority(new_job(owner), class)).await);
    }
    jobs
}

#[tokio::test]
async fn places_are_the_order_in_which_tenants_of_different_demand_are_served() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    for slots in [1, 3] {
        let mut jobs = Vec::new();
        for (name, count) in [("a", 30), ("b", 9), ("c", 3), ("d", 1)] {
            let owner = tenant(store, &format!("{name} {slots}")).await;
            jobs.extend(jobs_of(store, owner, Priority::Normal, count).await);
        }
        let predicted = predicted(store, &jobs).await;
        let error = error(&predicted, &order(store, slots).await);
        assert_eq!(error, (0, 0.0), "{slots} slots");
    }
    database.drop_database().await;
}

#[tokio::test]
async fn places_know_classes_and_ageing() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (a, b) = (tenant(store, "a").await, tenant(store, "b").await);
    // These have risen by one class when the others come.
    let mut jobs = jobs_of(store, a, Priority::Background, 6).await;
    let_time_pass(&database, 301).await;
    for class in [Priority::Background, Priority::Normal, Priority::Interactive] {
        jobs.extend(jobs_of(store, b, class, 5).await);
        jobs.extend(jobs_of(store, a, class, 2).await);
    }
    let predicted = predicted(store, &jobs).await;
    let (most, mean) = error(&predicted, &order(store, 1).await);
    assert!(most <= 2 && mean <= 0.5, "{most} at most, {mean} on average");
    database.drop_database().await;
}

#[tokio::test]
async fn places_are_close_when_jobs_differ_in_size() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let mut jobs = Vec::new();
    for (name, images) in [("a", 1), ("b", 2), ("c", 4)] {
        let owner = tenant(store, name).await;
        for _ in 0..12 {
            jobs.push(accept(store, with_images(new_job(owner), images)).await);
        }
    }
    let predicted = predicted(store, &jobs).await;
    let (most, mean) = error(&predicted, &order(store, 2).await);
    assert!(most <= 12 && mean <= 4.0, "{most} at most, {mean} on average");
    database.drop_database().await;
}

#[tokio::test]
async fn the_place_of_a_new_job_is_the_one_it_gets() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (a, b) = (tenant(store, "a").await, tenant(store, "b").await);
    jobs_of(store, a, Priority::Normal, 8).await;
    jobs_of(store, b, Priority::Normal, 3).await;
    let mut backlog = store.backlog().await.unwrap();
    let next = new_job(b);
    let expected = backlog.place_of_new(&lane("m"), Priority::Normal, b).ahead;
    backlog.add(&next);
    let after = backlog.place_of_new(&lane("m"), Priority::Normal, b).ahead;
    assert_eq!((expected, after), (7, 9), "three of each tenant, or four, and the other one begins");
    let job = accept(store, next).await;
    assert_eq!(predicted(store, &[job]).await[&job], expected);
    let order = order(store, 1).await;
    assert_eq!(order.iter().position(|other| *other == job), Some(7));
    database.drop_database().await;
}

#[tokio::test]
async fn a_place_far_behind_is_estimated_by_the_time_of_submission() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let job = accept(store, new_job(owner)).await;
    // Five thousand more, one a second, half of them before it.
    database
        .execute(
            "insert into jobs (id, tenant_id, lane, class, max_attempts, units, price, currency, deadline, expires_at,
                               created_at)
             select (case when n <= 2500 then '00' else 'ff' end || substr(gen_random_uuid()::text, 3))::uuid,
                    tenant_id, lane, class, 4, units, price, currency, deadline, expires_at,
                    created_at + (n - 2500) * interval '1 second'
             from jobs, generate_series(1, 5000) n"
        )
        .await;
    let ahead = predicted(store, &[job]).await[&job];
    assert!((2490..=2510).contains(&ahead), "{ahead}");
    database.drop_database().await;
}

#[tokio::test]
async fn waits_are_estimated_from_measured_runs_and_not_invented() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let first = jobs_of(store, owner, Priority::Normal, 2).await;
    let worker = TestWorker::start(store).await;
    let backlog = store.backlog().await.unwrap();
    assert_eq!(
        backlog.place_of_new(&lane("m"), Priority::Normal, owner).wait,
        None,
        "nothing was measured yet"
    );
    for _ in first {
        let leased = worker.take(store).await;
        succeed(store, &leased).await;
    }
    // Each took six seconds.
    database.execute("update attempts set leased_at = finished_at - interval '6 s'").await;
    let jobs = jobs_of(store, owner, Priority::Normal, 5).await;
    worker.take(store).await;
    let backlog = store.backlog().await.unwrap();
    let place = backlog.place(&store.queued(&jobs[4..]).await.unwrap()[0]);
    assert_eq!(place.ahead, 3);
    // Three wait before it, and one is half done.
    assert!(place.wait.unwrap().abs_diff(Duration::from_secs(21)) < Duration::from_secs(1), "{place:?}");
    // Twice as many at once take half the time, for what is left.
    worker.take(store).await;
    let backlog = store.backlog().await.unwrap();
    let place = backlog.place(&store.queued(&jobs[4..]).await.unwrap()[0]);
    assert!(place.wait.unwrap().abs_diff(Duration::from_secs(9)) < Duration::from_secs(1), "{place:?}");
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_says_why_it_is_passed_over() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let job = accept(store, in_lane(new_job(owner), "x")).await;
    let why = async || {
        let backlog = store.backlog().await.unwrap();
        backlog.blocked(&store.queued(&[job]).await.unwrap()[0])
    };
    assert_eq!(why().await, Some(Blocked::NoWorkerForModel));
    let mut worker = TestWorker::start(store).await;
    worker.lanes = vec![lane("x")];
    let me = NewWorker { id: worker.id, host: "h".into(), device: "cpu".into(), lanes: worker.lanes.clone() };
    store.worker_gone(worker.id).await.unwrap();
    let files = async |files| {
        let status = ModelStatus { files, safety_checker: None };
        store.worker_seen(&me, &[], &[(lane("x"), status)].into()).await.unwrap();
    };
    files(FilesStatus::Downloading { downloaded_bytes: 1, total_bytes: 2 }).await;
    assert_eq!(why().await, Some(Blocked::ModelLoading));
    files(FilesStatus::Failed { reason: "no space".into() }).await;
    assert_eq!(why().await, Some(Blocked::NoWorkerForModel));
    files(FilesStatus::Available).await;
    assert_eq!(why().await, None);
    database.execute("update tenants set max_running = 1").await;
    accept(store, new_job(owner)).await;
    let other = TestWorker::start(store).await;
    other.take(store).await;
    assert_eq!(why().await, Some(Blocked::TenantLimit));
    database
        .execute(&format!("update jobs set available_at = now() + interval '1 minute' where id = '{job}'"))
        .await;
    assert_eq!(why().await, Some(Blocked::WaitingForRetry));
    database.execute(&format!("insert into lanes (lane, paused_at) values ('{}', now())", lane("x"))).await;
    assert_eq!(why().await, Some(Blocked::LanePaused));
    database.drop_database().await;
}

#[tokio::test]
async fn the_place_of_the_last_of_many_jobs_is_known_without_counting_them() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (a, b) = (tenant(store, "a").await, tenant(store, "b").await);
    jobs_of(store, a, Priority::Normal, 5).await;
    let last = *jobs_of(store, b, Priority::Normal, 40).await.last().unwrap();
    let backlog = store.backlog().await.unwrap();
    let place = |owner| backlog.place_of_last(&lane("m"), Priority::Normal, owner);
    assert_eq!(place(b).map(|place| place.ahead), Some(predicted(store, &[last]).await[&last]));
    assert_eq!(place(a), None, "few are counted");
    database.drop_database().await;
}
