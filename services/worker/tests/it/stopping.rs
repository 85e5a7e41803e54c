//! Attempts that are stopped: canceled, lost, drained; and a database that goes away for a while.

use std::time::{Duration, Instant};

use darkroom_jobs::JobState;
use darkroom_store::Canceled;
use serde_json::{Value, json};

use crate::harness::{RunningWorker, Site};

/// A job of 20 seconds.
fn long() -> Value {
    json!({"prompt": "a red circle [fake:step_ms=200]", "steps": 100})
}

#[tokio::test]
async fn canceled_job_stops_at_the_next_step() {
    let site = Site::new("cancel", json!({})).await;
    let worker = site.start();
    let canceled = site.draw(long()).await;
    site.stepping(canceled).await;
    let next = site.draw(json!({"prompt": "a red circle"})).await;
    assert_eq!(site.database.store.cancel(site.tenant, canceled).await.unwrap(), Canceled::Done);
    let began = Instant::now();
    assert_eq!(site.finished(next).await.state, JobState::Succeeded);
    assert!(began.elapsed() < Duration::from_secs(10), "the slot was free {:?} after", began.elapsed());
    let job = site.job(canceled).await;
    assert_eq!((job.state, job.artifacts.len()), (JobState::Canceled, 0));
    worker.stop().await;
    site.clean(&[canceled, next]).await;
}

#[tokio::test]
async fn attempt_whose_lease_is_lost_writes_nothing() {
    let site = Site::new("lost", json!({})).await;
    let worker = site.start();
    let id = site.draw(json!({"prompt": "a red circle [fake:step_ms=200]", "steps": 20})).await;
    site.stepping(id).await;
    // A heartbeat in between would save the lease: expire and reap until the reaper wins.
    crate::harness::eventually(async || {
        site.database.execute("update attempts set lease_expires_at = now() - interval '1 second'").await;
        site.database.store.reap(10, 0.0).await.unwrap().pop()
    })
    .await;
    let job = site.finished(id).await;
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Succeeded, 2, 1));
    assert_eq!(site.attempts(id, "lost").await, 1);
    assert_eq!(site.database.count("select count(*) from artifacts where attempt = 1").await, 0);
    worker.stop().await;
    site.clean(&[id]).await;
}

#[tokio::test]
async fn draining_worker_lets_a_short_attempt_finish_and_takes_no_other() {
    let site = Site::new("drain-short", json!({})).await;
    let worker = site.start();
    let running = site.draw(json!({"prompt": "a red circle [fake:step_ms=250]", "steps": 20})).await;
    site.stepping(running).await;
    let waiting = site.draw(json!({"prompt": "a red circle"})).await;
    worker.stop().await;
    assert_eq!(site.job(running).await.state, JobState::Succeeded);
    assert_eq!(site.job(waiting).await.attempts, 0);
    assert_eq!(site.database.count("select count(*) from workers").await, 0);
    site.clean(&[running, waiting]).await;
}

#[tokio::test]
async fn worker_that_an_operator_asks_to_drain_finishes_what_runs_and_ends() {
    let site = Site::new("drain-asked", json!({})).await;
    let worker = site.start();
    let running = site.draw(json!({"prompt": "a red circle [fake:step_ms=250]", "steps": 20})).await;
    site.stepping(running).await;
    let waiting = site.draw(json!({"prompt": "a red circle"})).await;
    let me = site.database.store.worker_details().await.unwrap().remove(0);
    assert_eq!(me.running.len(), 1);
    assert!(site.database.store.drain_worker(me.id).await.unwrap());
    worker.ended().await.unwrap();
    assert_eq!(site.job(running).await.state, JobState::Succeeded);
    assert_eq!(site.job(waiting).await.attempts, 0);
    assert_eq!(site.database.count("select count(*) from workers").await, 0);
    site.clean(&[running, waiting]).await;
}

#[tokio::test]
async fn attempt_longer_than_the_grace_period_is_given_back() {
    let site = Site::new("drain-long", json!({})).await;
    let mut settings = site.settings();
    settings.worker.grace_seconds = 1;
    let worker = RunningWorker::start(settings);
    let id = site.draw(long()).await;
    site.stepping(id).await;
    worker.stop().await;
    let job = site.job(id).await;
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Queued, 1, 0));
    assert_eq!(site.attempts(id, "released").await, 1);
    assert_eq!(
        site.database.count("select count(*) from outbox").await,
        2,
        "a ticket for whoever comes next"
    );

    let other = site.start();
    site.wait(id, |job| job.attempts == 2).await;
    site.database.store.cancel(site.tenant, id).await.unwrap();
    other.stop().await;
    site.clean(&[id]).await;
}

#[tokio::test]
async fn second_request_to_stop_gives_back_at_once() {
    let site = Site::new("drain-hard", json!({})).await;
    let mut settings = site.settings();
    settings.worker.grace_seconds = 3_600;
    let worker = RunningWorker::start(settings);
    let id = site.draw(long()).await;
    site.stepping(id).await;
    worker.shutdown.soft.cancel();
    worker.shutdown.hard.cancel();
    worker.stop().await;
    assert_eq!(site.attempts(id, "released").await, 1);
    site.clean(&[id]).await;
}

#[tokio::test]
async fn attempt_outlives_lost_database_connections() {
    let site = Site::new("connections", json!({})).await;
    let worker = site.start();
    let id = site.draw(json!({"prompt": "a red circle [fake:step_ms=100]", "images": 5, "steps": 8})).await;
    site.wait(id, |job| job.state == JobState::Running).await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and application_name = 'darkroom-worker'";
    let job = crate::harness::eventually(async || {
        site.database.execute(kill).await;
        Some(site.job(id).await).filter(|job| job.state.is_final())
    })
    .await;
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Succeeded, 1, 0));
    assert_eq!(job.artifacts.len(), 5);
    worker.stop().await;
    site.clean(&[id]).await;
}
