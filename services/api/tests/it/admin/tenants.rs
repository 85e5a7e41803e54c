use reqwest::Method;
use serde_json::json;

use super::{get, send};
use crate::app::{Answer, App};

#[tokio::test]
async fn tenants_are_made_with_limits_listed_and_changed() {
    let app = App::start().await;
    let document = json!({"name": "acme", "max_queued": 100, "max_daily_cost": "12.50"});
    let made = send(&app, Method::POST, "/tenants", &document).await;
    insta::assert_json_snapshot!(made, @r#"
    {
      "status": 201,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/json"
      },
      "body": {
        "created_at": "[created_at]",
        "id": "[id]",
        "limits": {
          "max_daily_cost": "12.5",
          "max_queued": 100,
          "max_running": null,
          "requests_per_minute": null
        },
        "name": "acme",
        "unfinished": null
      }
    }
    "#);
    let changes =
        json!({"max_queued": null, "max_running": 4, "max_daily_cost": 0.25, "requests_per_minute": 60});
    let changed = send(&app, Method::PATCH, "/tenants/acme", &changes).await;
    insta::assert_json_snapshot!(changed.body["limits"], @r#"
    {
      "max_daily_cost": "0.25",
      "max_queued": null,
      "max_running": 4,
      "requests_per_minute": 60
    }
    "#);
    let path = format!("/tenants/{}", made.id());
    assert_eq!(send(&app, Method::PATCH, &path, &json!({})).await.body, changed.body, "nothing was given");
    let shown = get(&app, &path).await;
    assert_eq!(shown.raw("/limits"), changed.raw("/limits"));
    assert_eq!(shown.raw("/unfinished"), &json!({"queued": 0, "running": 0}));
    app.queued().await;
    assert_eq!(get(&app, "/tenants/first").await.raw("/unfinished"), &json!({"queued": 1, "running": 0}));
    let list = get(&app, "/tenants").await;
    let names: Vec<&str> =
        list.raw("/tenants").as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "second", "acme"]);
    let usage = get(&app, "/tenants/first/usage?from=2026-01-01&to=2026-01-02").await;
    assert_eq!((usage.status, usage.raw("/total/succeeded")), (200, &json!(0)));
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_tenant_is_refused_field_by_field() {
    let app = App::start().await;
    let taken = send(&app, Method::POST, "/tenants", &json!({"name": "first"})).await;
    assert_eq!(taken.refusal(), (409, "name_taken".to_owned()));
    let wrong = json!({
        "name": " a", "max_queued": -1, "max_running": "4", "max_daily_cost": "-1",
        "requests_per_minute": 0, "colour": "red",
    });
    let refused = send(&app, Method::POST, "/tenants", &wrong).await;
    insta::assert_json_snapshot!(refused.raw("/errors"), @r#"
    [
      {
        "code": "text",
        "detail": "expected 1 to 100 characters, no control characters, no spaces around",
        "pointer": "/name"
      },
      {
        "code": "range",
        "detail": "expected an integer from 0 to 2147483647",
        "pointer": "/max_queued"
      },
      {
        "code": "type",
        "detail": "expected an integer from 0 to 2147483647",
        "pointer": "/max_running"
      },
      {
        "code": "range",
        "detail": "expected an integer from 1 to 2147483647",
        "pointer": "/requests_per_minute"
      },
      {
        "code": "type",
        "detail": "expected a decimal number of at least 0, such as \"12.50\"",
        "pointer": "/max_daily_cost"
      },
      {
        "code": "unknown",
        "detail": "unknown field: expected one of name, max_queued, max_running, requests_per_minute, max_daily_cost",
        "pointer": "/colour"
      }
    ]
    "#);
    let missing = send(&app, Method::POST, "/tenants", &json!({})).await;
    assert_eq!(missing.raw("/errors/0/pointer"), &json!("/name"));
    let form = app.operate(Method::POST, "/tenants").header("content-type", "text/plain").body("{}");
    assert_eq!(Answer::of(form).await.refusal(), (415, "unsupported_media_type".to_owned()));
    let broken = app.operate(Method::POST, "/tenants").header("content-type", "application/json").body("{");
    assert_eq!(Answer::of(broken).await.refusal(), (400, "malformed_body".to_owned()));
    let large = app.operate(Method::POST, "/tenants").json(&json!({"name": "x".repeat(70_000)}));
    assert_eq!(Answer::of(large).await.refusal(), (413, "too_large".to_owned()));
    let unknown = send(&app, Method::PATCH, "/tenants/nobody", &json!({"max_queued": 1})).await;
    assert_eq!(unknown.refusal(), (404, "not_found".to_owned()));
    assert_eq!(get(&app, "/tenants").await.raw("/tenants").as_array().unwrap().len(), 2);
    app.stop().await;
}
