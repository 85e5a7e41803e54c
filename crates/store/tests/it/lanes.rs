use darkroom_jobs::Priority;
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Outcome, Wish};

use crate::builder::{TestWorker, accept, in_lane, lane, new_job, record, tenant, with_priority};

#[tokio::test]
async fn lanes_show_what_waits_runs_and_was_done() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let worker = TestWorker { loaded: vec![lane("m")], ..TestWorker::start(store).await };
    worker.seen(store).await;
    accept(store, new_job(owner)).await;
    let leased = worker.take(store).await;
    record(store, &leased.lease).await;
    store.settle(&leased.lease, &Outcome::Succeeded { timings: [].into() }, 1).await.unwrap();
    accept(store, new_job(owner)).await;
    worker.take(store).await;
    for priority in [Priority::Interactive, Priority::Background, Priority::Background] {
        accept(store, with_priority(new_job(owner), priority)).await;
    }
    database.execute("update jobs set created_at = now() - interval '90 seconds' where class = 0").await;
    database.execute("update jobs set available_at = now() + interval '1 hour' where class = 0").await;
    accept(store, in_lane(new_job(owner), "removed")).await;

    let lanes = store.lanes(&[lane("m"), lane("idle")]).await.unwrap();
    let names: Vec<&str> = lanes.iter().map(|lane| lane.lane.model()).collect();
    assert_eq!(names, ["idle", "m", "removed"]);
    let busy = &lanes[1];
    assert_eq!((busy.queued, busy.delayed, busy.running), ([1, 0, 2], 1, 1));
    assert_eq!((busy.workers, busy.loaded, busy.paused_at), (1, 1, None));
    assert!((90.0..100.0).contains(&busy.oldest_wait_s.unwrap()), "{busy:?}");
    assert!((busy.succeeded_per_minute - 0.2).abs() < 1e-9, "{busy:?}");
    assert_eq!((lanes[0].oldest_wait_s, lanes[0].workers), (None, 0));
    assert_eq!((lanes[2].queued, lanes[2].workers), ([0, 1, 0], 0));
    database.drop_database().await;
}

#[tokio::test]
async fn a_lane_is_paused_once_and_gets_tickets_when_it_is_opened_again() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for _ in 0..3 {
        accept(store, new_job(owner)).await;
    }
    accept(store, in_lane(new_job(owner), "n")).await;
    database.execute("delete from outbox").await;
    assert!(!store.resume_lane(&lane("m")).await.unwrap(), "it is open");
    store.pause_lane(&lane("m"), Some("bad weights")).await.unwrap();
    let paused_at = store.lanes(&[]).await.unwrap()[0].paused_at.expect("it is paused");
    store.pause_lane(&lane("m"), None).await.unwrap();
    let again = store.lanes(&[]).await.unwrap().remove(0);
    assert_eq!((again.paused_at, again.reason), (Some(paused_at), None));
    assert_eq!(database.count("select count(*) from outbox").await, 0);
    assert!(store.resume_lane(&lane("m")).await.unwrap());
    assert_eq!(database.count("select count(*) from outbox where lane like '%:m'").await, 3);
    assert_eq!(database.count("select count(*) from outbox").await, 3);
    assert_eq!(store.lanes(&[]).await.unwrap()[0].paused_at, None);
    database.drop_database().await;
}

#[tokio::test]
async fn a_worker_hears_with_its_heartbeat_that_it_is_to_drain() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, new_job(owner)).await;
    let (worker, other) = (TestWorker::start(store).await, TestWorker::start(store).await);
    let leased = worker.take(store).await;
    assert!(store.drain_worker(worker.id).await.unwrap());
    assert!(store.drain_worker(worker.id).await.unwrap(), "asking again is no mistake");
    assert_eq!(worker.seen(store).await, Wish::Drain);
    assert_eq!(other.seen(store).await, Wish::GoOn);
    let detail = store.worker_detail(worker.id).await.unwrap().unwrap();
    assert!(detail.drain_requested_at.is_some());
    assert_eq!(detail.running.len(), 1);
    assert_eq!((detail.running[0].job, detail.running[0].attempt), (leased.lease.job, 1));
    assert_eq!(store.worker_details().await.unwrap().len(), 2);
    store.worker_gone(other.id).await.unwrap();
    assert!(!store.drain_worker(other.id).await.unwrap());
    assert_eq!(store.worker_detail(other.id).await.unwrap(), None);
    database.drop_database().await;
}
