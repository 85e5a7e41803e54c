use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, App, OTHER_KEY, picture};
use crate::upload::{caption, png};

async fn submit(app: &App, key: &str, document: &Value) -> Answer {
    Answer::of(app.post("/v1/jobs").header("idempotency-key", key).json(document)).await
}

#[tokio::test]
async fn a_repeated_submission_finds_the_first_job() {
    let app = App::start().await;
    let first = submit(&app, "order-17", &picture()).await;
    assert_eq!((first.status, first.headers.get("idempotency-replayed")), (202, None));
    // Quoted, and with its members in another order.
    let body = r#"{"input": {"seed": 7, "prompt": "a red circle"}, "pipeline": "text-to-image"}"#;
    let again = app.post("/v1/jobs").header("idempotency-key", "\"order-17\"");
    let again = Answer::of(again.header("content-type", "application/json").body(body)).await;
    assert_eq!(again.id(), first.id());
    insta::assert_json_snapshot!(again.headers, @r#"
    {
      "cache-control": "private, no-cache",
      "content-type": "application/json",
      "etag": "W/\"v1\"",
      "idempotency-replayed": "true",
      "location": "/v1/jobs/[id]",
      "retry-after": "1"
    }
    "#);
    assert_eq!(app.database.count("select count(*) from jobs").await, 1);
    assert_eq!(app.database.count("select count(*) from outbox").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_seed_that_was_drawn_makes_no_other_request() {
    let app = App::start().await;
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle"}});
    let first = submit(&app, "k", &document).await;
    let again = submit(&app, "k", &document).await;
    assert_eq!(first.body, again.body);
    assert_eq!(first.raw("/input/seed"), again.raw("/input/seed"));
    app.stop().await;
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_tenant() {
    let app = App::start().await;
    submit(&app, "k", &picture()).await;
    let mut other = picture();
    other["input"]["seed"] = json!(8);
    insta::assert_json_snapshot!(submit(&app, "k", &other).await, @r#"
    {
      "status": 422,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "idempotency_key_reused",
        "detail": "this Idempotency-Key was used for another request",
        "error": {
          "code": "idempotency_key_reused",
          "message": "this Idempotency-Key was used for another request",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "idempotency_key_reused",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 422,
        "title": "Idempotency key used before",
        "type": "urn:darkroom:problem:idempotency_key_reused"
      }
    }
    "#);
    let foreign = app.anonymous(Method::POST, &app.url("/v1/jobs")).bearer_auth(OTHER_KEY);
    let foreign = Answer::of(foreign.header("idempotency-key", "k").json(&other)).await;
    assert_eq!((foreign.status, foreign.headers.get("idempotency-replayed")), (202, None));
    app.stop().await;
}

#[tokio::test]
async fn another_picture_is_another_request() {
    let app = App::start().await;
    let send = async |picture: Vec<u8>| {
        Answer::of(app.post("/v1/jobs").header("idempotency-key", "k").multipart(caption(picture))).await
    };
    let first = send(png(8, 8)).await;
    assert_eq!(send(png(8, 8)).await.id(), first.id());
    assert_eq!(send(png(8, 9)).await.refusal(), (422, "idempotency_key_reused".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn the_key_of_a_deleted_job_is_gone() {
    let app = App::start().await;
    let id = submit(&app, "k", &picture()).await.id();
    Answer::of(app.post(&format!("/v1/jobs/{id}/cancel"))).await;
    // A replay of a final job is answered as final.
    assert_eq!(submit(&app, "k", &picture()).await.status, 200);
    Answer::of(app.request(Method::DELETE, &format!("/v1/jobs/{id}"))).await;
    assert_eq!(submit(&app, "k", &picture()).await.refusal(), (410, "job_deleted".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let app = App::start().await;
    insta::assert_json_snapshot!(submit(&app, "not visible", &picture()).await, @r#"
    {
      "status": 400,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "invalid_header",
        "detail": "Idempotency-Key: expected one key of 1 to 255 visible ASCII characters, bare or in double quotes",
        "error": {
          "code": "invalid_header",
          "message": "Idempotency-Key: expected one key of 1 to 255 visible ASCII characters, bare or in double quotes",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "invalid_header",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 400,
        "title": "Unusable header",
        "type": "urn:darkroom:problem:invalid_header"
      }
    }
    "#);
    assert_eq!(app.database.count("select count(*) from jobs").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn submissions_at_the_same_time_make_one_job() {
    let app = App::start().await;
    let document = picture();
    let answers = futures_util::future::join_all((0..8).map(|_| submit(&app, "k", &document))).await;
    let ids: std::collections::BTreeSet<String> = answers.iter().map(Answer::id).collect();
    assert_eq!(ids.len(), 1);
    let made = answers.iter().filter(|answer| !answer.headers.contains_key("idempotency-replayed"));
    assert_eq!(made.count(), 1);
    app.stop().await;
}
