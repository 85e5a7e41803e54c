use reqwest::Method;

use crate::app::{Answer, App};

#[tokio::test]
async fn a_canceled_job_is_final_at_once() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let canceled = Answer::of(app.post(&format!("{path}/cancel"))).await;
    assert_eq!((canceled.status, canceled.text("/state").as_str()), (200, "canceled"));
    let again = Answer::of(app.post(&format!("{path}/cancel"))).await;
    assert_eq!((again.status, again.raw("/version")), (200, canceled.raw("/version")));
    app.stop().await;
}

#[tokio::test]
async fn a_job_that_ended_otherwise_cannot_be_canceled() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}/cancel", app.queued().await);
    let worker = app.worker();
    let leased = worker.lease().await;
    worker.fail(&leased).await;
    insta::assert_json_snapshot!(Answer::of(app.post(&path)).await, @r#"
    {
      "status": 409,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "job_already_final",
        "detail": "the job is already failed",
        "error": {
          "code": "job_already_final",
          "message": "the job is already failed",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "job_already_final",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 409,
        "title": "Job is final already",
        "type": "urn:darkroom:problem:job_already_final"
      }
    }
    "#);
    app.stop().await;
}

#[tokio::test]
async fn a_deleted_job_is_gone_with_its_results() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let worker = app.worker();
    let leased = worker.lease().await;
    let early = Answer::of(app.request(Method::DELETE, &path)).await;
    assert_eq!(early.refusal(), (409, "job_not_final".to_owned()));
    assert_eq!(early.text("/detail"), "the job is running: cancel it first");
    worker.store_picture(&leased, b"x").await;
    worker.succeed(&leased).await;
    let url = Answer::of(app.get(&path)).await.text("/artifacts/0/url");
    assert_eq!(Answer::of(app.anonymous(Method::GET, &url)).await.status, 200);
    let deleted = Answer::of(app.request(Method::DELETE, &path)).await;
    assert_eq!((deleted.status, deleted.bytes.len()), (204, 0));
    for request in [
        app.get(&path),
        app.request(Method::DELETE, &path),
        app.post(&format!("{path}/cancel")),
        app.anonymous(Method::GET, &url),
    ] {
        assert_eq!(Answer::of(request).await.refusal(), (404, "not_found".to_owned()));
    }
    app.stop().await;
}
