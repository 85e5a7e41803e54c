use reqwest::Method;
use serde_json::json;

use crate::app::{Answer, App, OTHER_KEY, picture};
use crate::upload::png;

async fn usage(app: &App, query: &str) -> Answer {
    Answer::of(app.get(&format!("/v1/usage?{query}"))).await
}

/// Lets the jobs that ended so far have ended on this day, which is not rolled up.
async fn move_to(app: &App, date: &str) {
    let sql = format!(
        "update jobs set finished_at = '{date}T12:00:00Z' where finished_at > '2020-02-01T00:00:00Z';
         update usage_mark set rolled_through = '2020-01-01'"
    );
    app.database.execute(&sql).await;
}

#[tokio::test]
async fn usage_and_cost_are_shown_by_day_pipeline_and_model() {
    let app = App::start().await;
    let worker = app.worker();
    for _ in 0..2 {
        app.queued().await;
        let leased = worker.lease().await;
        worker.store_picture(&leased, b"a picture").await;
        worker.succeed(&leased).await;
    }
    app.queued().await;
    worker.fail(&worker.lease().await).await;
    let form = reqwest::multipart::Form::new()
        .part("image", reqwest::multipart::Part::bytes(png(10, 20)).file_name("x.png"));
    assert_eq!(Answer::of(app.post("/v1/jobs").multipart(form)).await.status, 202);
    let leased = worker.lease().await;
    worker.store_caption(&leased, "a circle").await;
    worker.succeed(&leased).await;
    move_to(&app, "2020-01-30").await;
    let canceled = app.queued().await;
    Answer::of(app.post(&format!("/v1/jobs/{canceled}/cancel"))).await;
    move_to(&app, "2020-01-31").await;
    // Another currency, as after a change of the catalog.
    app.database.execute(&format!("update jobs set currency = 'EUR' where id = '{canceled}'")).await;

    let answer = usage(&app, "from=2020-01-02&to=2020-01-31").await;
    assert_eq!(answer.status, 200);
    insta::assert_json_snapshot!(answer.body, @r#"
    {
      "days": [
        {
          "artifacts": 1,
          "canceled": 0,
          "cost": {
            "amount": "0",
            "currency": "USD"
          },
          "date": "2020-01-30",
          "expired": 0,
          "failed": 0,
          "model": "test/captioner",
          "pipeline": "image-to-text",
          "succeeded": 1,
          "units": 200
        },
        {
          "artifacts": 2,
          "canceled": 0,
          "cost": {
            "amount": "0.00016384",
            "currency": "USD"
          },
          "date": "2020-01-30",
          "expired": 0,
          "failed": 1,
          "model": "test/painter",
          "pipeline": "text-to-image",
          "succeeded": 2,
          "units": 8192
        },
        {
          "artifacts": 0,
          "canceled": 1,
          "cost": {
            "amount": "0",
            "currency": "EUR"
          },
          "date": "2020-01-31",
          "expired": 0,
          "failed": 0,
          "model": "test/painter",
          "pipeline": "text-to-image",
          "succeeded": 0,
          "units": 0
        }
      ],
      "from": "2020-01-02",
      "to": "2020-01-31",
      "total": {
        "artifacts": 3,
        "canceled": 1,
        "costs": [
          {
            "amount": "0",
            "currency": "EUR"
          },
          {
            "amount": "0.00016384",
            "currency": "USD"
          }
        ],
        "expired": 0,
        "failed": 1,
        "succeeded": 3,
        "units": 8392
      }
    }
    "#);
    let one = usage(&app, "from=2020-01-31&to=2020-01-31").await;
    assert_eq!(one.raw("/days").as_array().unwrap().len(), 1);
    let other = app.anonymous(Method::GET, &app.url("/v1/usage?to=2020-01-31")).bearer_auth(OTHER_KEY);
    insta::assert_json_snapshot!(Answer::of(other).await.body, @r#"
    {
      "days": [],
      "from": "2020-01-02",
      "to": "2020-01-31",
      "total": {
        "artifacts": 0,
        "canceled": 0,
        "costs": [],
        "expired": 0,
        "failed": 0,
        "succeeded": 0,
        "units": 0
      }
    }
    "#);
    app.stop().await;
}

#[tokio::test]
async fn the_last_thirty_days_are_shown_unless_others_are_asked_for() {
    let app = App::start().await;
    app.submit(&picture()).await;
    let leased = app.worker().lease().await;
    app.worker().fail(&leased).await;
    let shown = Answer::of(app.get("/v1/usage")).await;
    let today = app.database.store.now().await.unwrap().date_naive();
    let (from, to) = (today - chrono::Days::new(29), today);
    assert_eq!((shown.raw("/from"), shown.raw("/to")), (&json!(from), &json!(to)));
    assert_eq!(shown.raw("/days/0/date"), &json!(today), "today is included");
    assert_eq!(shown.raw("/total/failed"), &json!(1));
    app.stop().await;
}

#[tokio::test]
async fn every_parameter_that_cannot_be_used_is_named_at_once() {
    let app = App::start().await;
    insta::assert_json_snapshot!(usage(&app, "from=yesterday&to=2026-01-31&to=2026-02-31&month=1").await, @r#"
    {
      "status": 422,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "invalid_request",
        "detail": "3 fields cannot be used: see `errors`",
        "error": {
          "code": "invalid_request",
          "message": "3 fields cannot be used: see `errors`",
          "param": "from",
          "type": "invalid_request_error"
        },
        "error_type": "invalid_request",
        "errors": [
          {
            "code": "date",
            "detail": "expected a date as YYYY-MM-DD",
            "parameter": "from"
          },
          {
            "code": "repeated",
            "detail": "give it once",
            "parameter": "to"
          },
          {
            "code": "unknown",
            "detail": "unknown parameter: expected one of from, to",
            "parameter": "month"
          }
        ],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 422,
        "title": "Invalid fields",
        "type": "urn:darkroom:problem:invalid_request"
      }
    }
    "#);
    let long = usage(&app, "from=2024-01-01&to=2025-01-01").await;
    insta::assert_json_snapshot!(long.raw("/errors"), @r#"
    [
      {
        "code": "range",
        "detail": "must not be more than 366 days up to 2025-01-01, the last day",
        "parameter": "from"
      }
    ]
    "#);
    let reversed = usage(&app, "from=2026-01-02&to=2026-01-01").await;
    insta::assert_json_snapshot!(reversed.raw("/errors"), @r#"
    [
      {
        "code": "range",
        "detail": "must not be after 2026-01-01, the last day",
        "parameter": "from"
      }
    ]
    "#);
    app.stop().await;
}

#[tokio::test]
async fn usage_is_for_keys_that_may_read() {
    let app = App::start().await;
    let with = |key| app.anonymous(Method::GET, &app.url("/v1/usage")).bearer_auth(key);
    assert_eq!(Answer::of(with("dk_first_read")).await.status, 200);
    assert_eq!(Answer::of(with("dk_first_submit")).await.refusal(), (403, "missing_scope".to_owned()));
    assert_eq!(Answer::of(with("dk_operator")).await.refusal(), (403, "operator_key".to_owned()));
    let anonymous = app.anonymous(Method::GET, &app.url("/v1/usage?from=nonsense"));
    assert_eq!(Answer::of(anonymous).await.refusal(), (401, "unauthorized".to_owned()));
    app.stop().await;
}
