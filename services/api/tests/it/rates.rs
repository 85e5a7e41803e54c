use darkroom_store::LimitChanges;
use reqwest::Method;

use crate::app::{Answer, App, OTHER_KEY, eventually, picture};

/// Lets the first tenant make so many requests a minute.
async fn limit(app: &App, requests_per_minute: Option<u32>) {
    let tenant = app.database.store.tenant_named("first").await.unwrap();
    let changes = LimitChanges { requests_per_minute: Some(requests_per_minute), ..LimitChanges::default() };
    app.database.store.change_limits(tenant, &changes).await.unwrap();
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_and_every_answer_says_how_the_tenant_stands() {
    let app = App::start().await;
    limit(&app, Some(3)).await;
    let first = Answer::of(app.get("/v1/jobs")).await;
    let fields = |answer: &Answer| {
        let field = |name| answer.headers.get(name).cloned().unwrap_or_default();
        (field("ratelimit-policy"), field("ratelimit"))
    };
    let policy = "\"requests\";q=3;w=60".to_owned();
    assert_eq!((first.status, fields(&first)), (200, (policy.clone(), "\"requests\";r=2;t=20".to_owned())));
    // Another key of the tenant, and one that is not allowed to do this: they count as well.
    let read_only = app.anonymous(Method::POST, &app.url("/v1/jobs")).bearer_auth("dk_first_read");
    let refused = Answer::of(read_only.json(&picture())).await;
    assert_eq!((refused.status, fields(&refused).0), (403, policy.clone()));
    assert_eq!(app.submit(&picture()).await.status, 202);

    let refused = app.submit(&picture()).await;
    assert_eq!(fields(&refused).0, policy);
    insta::assert_json_snapshot!(refused, { ".headers.ratelimit" => "[ratelimit]", ".headers[\"retry-after\"]" => "[seconds]", ".body.detail" => "[detail]", ".body.error.message" => "[detail]" }, @r#"
    {
      "status": 429,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json",
        "ratelimit": "[ratelimit]",
        "ratelimit-policy": "\"requests\";q=3;w=60",
        "retry-after": "[seconds]"
      },
      "body": {
        "code": "too_many_requests",
        "detail": "[detail]",
        "error": {
          "code": "too_many_requests",
          "message": "[detail]",
          "param": null,
          "type": "rate_limit_error"
        },
        "error_type": "too_many_requests",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 429,
        "title": "Too many requests",
        "type": "urn:darkroom:problem:too_many_requests"
      }
    }
    "#);
    let wait: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    let other = app.anonymous(Method::GET, &app.url("/v1/jobs")).bearer_auth(OTHER_KEY);
    let other = Answer::of(other).await;
    assert_eq!((other.status, fields(&other)), (200, (String::new(), String::new())), "no limit, no fields");
    let anonymous = Answer::of(app.anonymous(Method::GET, &app.url("/v1/jobs"))).await;
    assert_eq!((anonymous.status, fields(&anonymous).1), (401, String::new()));
    app.stop().await;
}

#[tokio::test]
async fn a_limit_that_is_changed_or_lifted_holds_soon() {
    let app = App::start().await;
    limit(&app, Some(1)).await;
    let status = async || Answer::of(app.get("/v1/jobs")).await.status;
    eventually("the limit is heard of", async || status().await == 429).await;
    limit(&app, Some(1000)).await;
    eventually("the higher one is heard of", async || status().await == 200).await;
    limit(&app, Some(1)).await;
    eventually("the lower one is heard of", async || status().await == 429).await;
    limit(&app, None).await;
    eventually("that there is none is heard of", async || status().await == 200).await;
    app.stop().await;
}
