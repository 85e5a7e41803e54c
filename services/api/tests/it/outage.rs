use serde_json::json;

use crate::app::{Answer, App, picture, storage};
use crate::upload::{caption, png};

#[tokio::test]
async fn without_its_database_the_service_asks_to_try_again() {
    let app = App::start().await;
    app.database.store.close().await;
    insta::assert_json_snapshot!(app.submit(&picture()).await, @r#"
    {
      "status": 503,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json",
        "retry-after": "2"
      },
      "body": {
        "code": "unavailable",
        "detail": "the service cannot do this at the moment: try again soon",
        "error": {
          "code": "unavailable",
          "message": "the service cannot do this at the moment: try again soon",
          "param": null,
          "type": "server_error"
        },
        "error_type": "unavailable",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 503,
        "title": "Unavailable for now",
        "type": "urn:darkroom:problem:unavailable"
      }
    }
    "#);
    assert_eq!(Answer::of(app.get("/v1/jobs")).await.refusal(), (503, "unavailable".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn without_its_storage_the_service_takes_jobs_that_need_none() {
    let mut unreachable = storage("darkroom-test");
    unreachable.s3_endpoint = "http://127.0.0.1:1".parse().unwrap();
    let app = App::start_with(unreachable).await;
    let refused = Answer::of(app.post("/v1/jobs").multipart(caption(png(8, 8)))).await;
    assert_eq!(refused.refusal(), (503, "unavailable".to_owned()));
    assert_eq!(refused.headers["retry-after"], "2");
    assert_eq!(app.submit(&picture()).await.status, 202);
    let missing = app.submit(&json!({"pipeline": "image-to-text"})).await;
    assert_eq!(missing.refusal(), (422, "invalid_request".to_owned()));
    app.stop().await;
}
