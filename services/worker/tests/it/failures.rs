//! Attempts that fail, and what becomes of their jobs.

use darkroom_jobs::{FailureClass, JobState};
use serde_json::json;

use crate::harness::{RunningWorker, Site};

#[tokio::test]
async fn callers_mistake_fails_the_job_at_once() {
    let site = Site::new("mistake", json!({})).await;
    let worker = site.start();
    let drawn = site.draw(json!({"prompt": "[fake:invalid_input]"})).await;
    let captioned = site.caption(b"no picture at all".to_vec(), "").await;
    for id in [drawn, captioned] {
        let job = site.finished(id).await;
        assert_eq!((job.state, job.attempts, job.cost), (JobState::Failed, 1, None));
        assert_eq!(job.failure.unwrap().class, FailureClass::InvalidInput);
    }
    let message = site.job(captioned).await.failure.unwrap().message;
    assert_eq!(message, "the file is no PNG, JPEG, WebP or GIF image");
    worker.stop().await;
    site.clean(&[drawn, captioned]).await;
}

#[tokio::test]
async fn panic_is_retried_until_no_attempt_is_left_and_the_worker_lives() {
    let site = Site::new("panic", json!({"max_attempts": 2})).await;
    let worker = site.start();
    let id = site.draw(json!({"prompt": "[fake:panic@1]", "images": 2})).await;
    let job = site.finished(id).await;
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Failed, 2, 2));
    assert_eq!(job.failure.unwrap().class, FailureClass::Poison);
    assert_eq!(job.artifacts.len(), 1, "what was made before the panic stays");
    let sql = "select count(*) from attempts where failure_class = 'infrastructure' and state = 'failed'";
    assert_eq!(site.database.count(sql).await, 2);

    let next = site.draw(json!({"prompt": "a red circle"})).await;
    assert_eq!(site.finished(next).await.state, JobState::Succeeded);
    worker.ready().await;
    worker.stop().await;
    site.clean(&[id, next]).await;
}

#[tokio::test]
async fn job_that_was_too_large_for_a_worker_goes_to_another() {
    let site = Site::new("memory", json!({"max_attempts": 2})).await;
    let first = site.start();
    let id = site.draw(json!({"prompt": "[fake:out_of_memory]"})).await;
    site.wait(id, |job| job.failures == 1).await;
    let second = site.start();
    let job = site.finished(id).await;
    assert_eq!(job.failure.unwrap().class, FailureClass::Poison);
    assert_eq!(site.database.count("select count(distinct worker_id) from attempts").await, 2);
    let sql = "select count(*) from attempts where failure_class = 'out_of_memory'";
    assert_eq!(site.database.count(sql).await, 2);
    first.stop().await;
    second.stop().await;
    site.clean(&[id]).await;
}

#[tokio::test]
async fn model_without_weights_fails_one_attempt_and_closes_its_lane() {
    let site = Site::new("weights", json!({"source": "nowhere", "warm": false})).await;
    let worker = site.start();
    let first = site.draw(json!({"prompt": "a red circle"})).await;
    let second = site.draw(json!({"prompt": "a red circle"})).await;
    site.wait(first, |job| job.failures == 1).await;
    let sql = "select count(*) from jobs where avoid_worker is not null and state = 'queued'";
    assert_eq!(site.database.count(sql).await, 1);
    // The next job is left alone until the lane opens again, 5 s later.
    assert_eq!(site.job(second).await.attempts, 0);
    worker.stop().await;
    site.clean(&[first, second]).await;
}

#[tokio::test]
async fn worker_whose_warm_model_is_missing_is_not_ready() {
    let site = Site::new("not-ready", json!({"source": "nowhere"})).await;
    let worker = site.start();
    crate::harness::eventually(async || {
        let report = worker.readiness.report().await;
        format!("{report:?}").contains("failed to load the model").then_some(())
    })
    .await;
    assert!(!worker.readiness.report().await.is_ready());
    worker.stop().await;
    site.clean(&[]).await;
}

#[tokio::test]
async fn attempt_over_its_time_limit_times_out() {
    let site = Site::new("timeout", json!({"timeout": 1, "max_attempts": 1})).await;
    let worker = site.start();
    let id = site.draw(json!({"prompt": "[fake:step_ms=100]", "steps": 100})).await;
    let job = site.finished(id).await;
    assert_eq!(job.attempts, 1);
    assert_eq!(
        job.failure.unwrap().message,
        "no attempt is left, the last one ended so: the attempt took longer than 1 s"
    );
    worker.stop().await;
    site.clean(&[id]).await;
}

#[tokio::test]
async fn device_that_hangs_ends_the_worker_after_its_attempts_are_settled() {
    let site = Site::new("hang", json!({})).await;
    let mut settings = site.settings();
    // Time enough for a probe to find the second job.
    settings.worker.stall_seconds = 5;
    settings.worker.slots = 2;
    let hung = site.draw(json!({"prompt": "[fake:hang@1]", "images": 2})).await;
    let worker = RunningWorker::start(settings);
    // Not before the device has it: the other job would overtake it there.
    site.wait(hung, |job| job.artifacts.len() == 1).await;
    let behind = site.draw(json!({"prompt": "a red circle"})).await;
    let error = worker.ended().await.unwrap_err().to_string();
    assert_eq!(error, "the device hangs in the middle of a step");
    let job = site.job(hung).await;
    assert_eq!((job.state, job.failures), (JobState::Queued, 1));
    assert_eq!(site.database.count("select count(*) from attempts where failure_class = 'timeout'").await, 1);
    let job = site.job(behind).await;
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Queued, 1, 0));
    assert_eq!(site.attempts(behind, "released").await, 1);
    site.clean(&[hung, behind]).await;
}
