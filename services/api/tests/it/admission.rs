//! Limits of keys and tenants, and of the whole.

use std::time::{Duration, Instant};

use darkroom_api::Capacity;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, App, KEY, OTHER_KEY, eventually, picture};

fn of_class(priority: &str) -> Value {
    let mut document = picture();
    document["priority"] = json!(priority);
    document
}

async fn submit_as(app: &App, key: &str, document: &Value) -> Answer {
    let request = app.anonymous(Method::POST, &app.url("/v1/jobs")).bearer_auth(key).json(document);
    Answer::of(request).await
}

async fn limit(app: &App, column: &str, value: &str) {
    app.database.execute(&format!("update tenants set {column} = {value} where name = 'first'")).await;
}

#[tokio::test]
async fn a_tenant_has_no_more_queued_jobs_than_it_may() {
    let app = App::start().await;
    limit(&app, "max_queued", "2").await;
    for _ in 0..2 {
        app.queued().await;
    }
    insta::assert_json_snapshot!(app.submit(&picture()).await, @r#"
    {
      "status": 429,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json",
        "retry-after": "5"
      },
      "body": {
        "code": "queue_limit",
        "detail": "more than the 2 jobs would be queued that this tenant may have: try again when some have started",
        "error": {
          "code": "queue_limit",
          "message": "more than the 2 jobs would be queued that this tenant may have: try again when some have started",
          "param": null,
          "type": "rate_limit_error"
        },
        "error_type": "queue_limit",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 429,
        "title": "Over a limit",
        "type": "urn:darkroom:problem:queue_limit"
      }
    }
    "#);
    assert_eq!(submit_as(&app, OTHER_KEY, &picture()).await.status, 202, "another tenant has no limit");
    app.worker().lease().await;
    eventually("a place is free", async || app.submit(&picture()).await.status == 202).await;
    app.stop().await;
}

#[tokio::test]
async fn limits_hold_while_the_database_cannot_count() {
    let app = App::start().await;
    limit(&app, "max_queued", "1").await;
    app.queued().await;
    assert_eq!(app.submit(&picture()).await.status, 429);
    app.database.execute("alter table lanes rename to elsewhere").await;
    let broken = Instant::now();
    // Longer than a count is good for.
    while broken.elapsed() < Duration::from_secs(3) {
        assert_eq!(app.submit(&picture()).await.refusal(), (429, "queue_limit".to_owned()));
    }
    app.stop().await;
}

#[tokio::test]
async fn a_day_costs_no_more_than_it_may() {
    let app = App::start().await;
    // Three pictures of 0.00008192 each.
    limit(&app, "max_daily_cost", "0.00025").await;
    let worker = app.worker();
    app.queued().await;
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"x").await;
    worker.succeed(&leased).await;
    for _ in 0..2 {
        app.queued().await;
    }
    let refused = app.submit(&picture()).await;
    assert_eq!(refused.refusal(), (429, "daily_cost_limit".to_owned()));
    let until_midnight: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((1..=86_400).contains(&until_midnight), "{until_midnight}");
    // What fails costs nothing and makes room.
    worker.fail(&worker.lease().await).await;
    eventually("there is room", async || app.submit(&picture()).await.status == 202).await;
    // A new day begins with nothing spent; what is unfinished counts for it.
    limit(&app, "max_daily_cost", "0.00017").await;
    eventually("the new limit holds", async || app.submit(&picture()).await.status == 429).await;
    app.database.execute("update jobs set finished_at = finished_at - interval '1 day'").await;
    worker.fail(&worker.lease().await).await;
    eventually("a new day has begun", async || app.submit(&picture()).await.status == 202).await;
    app.stop().await;
}

#[tokio::test]
async fn a_key_has_no_more_interactive_jobs_than_it_may() {
    let app = App::start().await;
    app.database.execute(&format!("update api_keys set max_interactive = 2 where name = '{KEY}'")).await;
    for _ in 0..2 {
        assert_eq!(app.submit(&of_class("interactive")).await.status, 202);
    }
    let refused = app.submit(&of_class("interactive")).await;
    assert_eq!(refused.refusal(), (429, "interactive_limit".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(app.submit(&of_class("normal")).await.status, 202);
    // Running ones count, ended ones do not.
    let worker = app.worker();
    let leased = worker.lease().await;
    let refused = app.submit(&of_class("interactive")).await;
    assert_eq!(refused.refusal(), (429, "interactive_limit".to_owned()));
    worker.fail(&leased).await;
    eventually("a place is free", async || app.submit(&of_class("interactive")).await.status == 202).await;
    app.stop().await;
}

#[tokio::test]
async fn interactive_jobs_are_shed_last_and_repeated_submissions_are_answered_all_the_same() {
    let app = App::start_with_capacity(Capacity { max_queued_jobs: 10, ..Capacity::default() }).await;
    let submit = async |class: &str| app.submit(&of_class(class)).await;
    let keyed = async || {
        Answer::of(app.post("/v1/jobs").header("idempotency-key", "once").json(&of_class("background"))).await
    };
    let first = keyed().await;
    for class in ["background", "normal", "interactive"] {
        let mut accepted = 0;
        let refused = loop {
            let answer = submit(class).await;
            if answer.status != 202 {
                break answer;
            }
            accepted += 1;
        };
        assert_eq!(refused.refusal(), (503, "overloaded".to_owned()));
        assert_eq!(refused.headers["retry-after"], "5");
        // 8 of 10, then 9, then 10.
        assert_eq!(accepted, if class == "background" { 7 } else { 1 }, "{class}");
    }
    let again = keyed().await;
    assert_eq!((again.status, again.id()), (202, first.id()));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    app.stop().await;
}

#[tokio::test]
async fn a_tenant_that_fills_the_queue_keeps_no_other_out() {
    let app = App::start_with_capacity(Capacity { max_queued_jobs: 10, ..Capacity::default() }).await;
    let fill = async |key: &str| {
        let mut accepted = 0;
        while submit_as(&app, key, &of_class("interactive")).await.status == 202 {
            accepted += 1;
        }
        accepted
    };
    assert_eq!(fill(KEY).await, 10);
    assert_eq!(fill(OTHER_KEY).await, 5, "its equal part");
    app.stop().await;
}

#[tokio::test]
async fn what_would_weigh_too_much_is_refused() {
    // Six pictures of 64 × 64, the last of which begins below the limit.
    let app = App::start_with_capacity(Capacity { max_queued_pixels: 22_000, ..Capacity::default() }).await;
    let mut accepted = 0;
    while app.submit(&of_class("interactive")).await.status == 202 {
        accepted += 1;
    }
    assert_eq!(accepted, 6);
    app.stop().await;
}

#[tokio::test]
async fn what_would_wait_for_too_long_is_refused() {
    let app = App::start_with_capacity(Capacity { max_wait_seconds: 100, ..Capacity::default() }).await;
    let worker = app.worker();
    worker.appear(&[]).await;
    app.queued().await;
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"x").await;
    worker.succeed(&leased).await;
    // A picture takes a minute, and one worker makes them.
    app.database.execute("update attempts set leased_at = finished_at - interval '60 s'").await;
    for _ in 0..3 {
        app.queued().await;
    }
    // Three wait: a fourth would start after three minutes.
    let refusal = async || app.submit(&picture()).await;
    eventually("the wait is known", async || refusal().await.status == 503).await;
    let refused = refusal().await;
    assert_eq!(refused.refusal(), (503, "overloaded".to_owned()));
    assert!((60..=60).contains(&refused.headers["retry-after"].parse::<u32>().unwrap()), "{refused:?}");
    assert_eq!(app.submit(&of_class("interactive")).await.status, 202, "it goes first");
    app.stop().await;
}
