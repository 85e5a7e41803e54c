use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, App, OTHER_KEY, picture};

async fn list(app: &App, query: &str) -> Answer {
    Answer::of(app.get(&format!("/v1/jobs?{query}"))).await
}

fn ids(answer: &Answer) -> Vec<String> {
    let jobs = answer.raw("/jobs").as_array().unwrap();
    jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_hold_every_job_once_newest_first() {
    let app = App::start().await;
    let mut submitted = Vec::new();
    for _ in 0..5 {
        submitted.push(app.queued().await);
    }
    submitted.reverse();
    let mut listed = Vec::new();
    let mut query = "limit=2".to_owned();
    for pages_left in [2, 1, 0] {
        let page = list(&app, &query).await;
        listed.extend(ids(&page));
        match page.raw("/next_cursor") {
            Value::String(cursor) => query = format!("limit=2&cursor={cursor}"),
            _ => assert_eq!(pages_left, 0),
        }
    }
    assert_eq!(listed, submitted);
    assert_eq!(list(&app, "limit=5").await.raw("/next_cursor"), &Value::Null);
    app.stop().await;
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let app = App::start().await;
    let painted = app.queued().await;
    let mut sketch = picture();
    sketch["model"] = json!("test/sketcher");
    let sketched = app.submit(&sketch).await.id();
    Answer::of(app.post(&format!("/v1/jobs/{sketched}/cancel"))).await;
    for (query, expected) in [
        ("state=queued", vec![painted.clone()]),
        ("state=canceled", vec![sketched.clone()]),
        ("model=test%2Fsketcher", vec![sketched.clone()]),
        ("pipeline=text-to-image", vec![sketched, painted]),
        ("pipeline=image-to-text", vec![]),
        ("model=nothing", vec![]),
    ] {
        assert_eq!(ids(&list(&app, query).await), expected, "{query}");
    }
    app.stop().await;
}

#[tokio::test]
async fn labels_narrow_the_list() {
    let app = App::start().await;
    let labelled = async |labels: Value| {
        let mut document = picture();
        document["metadata"] = labels;
        app.submit(&document).await.id()
    };
    let a = labelled(json!({"shop": "north", "order": "1"})).await;
    let b = labelled(json!({"shop": "north", "order": "2"})).await;
    let c = labelled(json!({"shop": "south", "order": "2", "a b&c": "ä="})).await;
    app.queued().await;
    let other = app.anonymous(Method::POST, &app.url("/v1/jobs")).bearer_auth(OTHER_KEY);
    let mut document = picture();
    document["metadata"] = json!({"shop": "north"});
    assert_eq!(Answer::of(other.json(&document)).await.status, 202);
    Answer::of(app.post(&format!("/v1/jobs/{a}/cancel"))).await;
    for (query, expected) in [
        ("metadata[shop]=north", vec![b.clone(), a.clone()]),
        ("metadata[order]=2", vec![c.clone(), b.clone()]),
        ("metadata[order]=2&metadata[shop]=north", vec![b.clone()]),
        ("metadata[shop]=north&state=canceled", vec![a.clone()]),
        ("metadata[shop]=north&pipeline=image-to-text", vec![]),
        ("metadata[a%20b%26c]=%C3%A4%3D", vec![c.clone()]),
        ("metadata[shop]=west", vec![]),
        ("metadata[order]=1&metadata[shop]=south", vec![]),
    ] {
        assert_eq!(ids(&list(&app, query).await), expected, "{query}");
    }
    let page = list(&app, "metadata[shop]=north&limit=1").await;
    assert_eq!(ids(&page), [b]);
    let query = format!("metadata[shop]=north&limit=1&cursor={}", page.text("/next_cursor"));
    let page = list(&app, &query).await;
    assert_eq!((ids(&page), page.raw("/next_cursor")), (vec![a.clone()], &Value::Null));
    Answer::of(app.request(Method::DELETE, &format!("/v1/jobs/{a}"))).await;
    assert_eq!(ids(&list(&app, "metadata[order]=1").await), [""; 0]);
    app.stop().await;
}

#[tokio::test]
async fn every_parameter_that_cannot_be_used_is_named_at_once() {
    let app = App::start().await;
    insta::assert_json_snapshot!(list(&app, "state=done&limit=101&cursor=x&colour=red").await, @r#"
    {
      "status": 422,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "invalid_request",
        "detail": "4 fields cannot be used: see `errors`",
        "error": {
          "code": "invalid_request",
          "message": "4 fields cannot be used: see `errors`",
          "param": "state",
          "type": "invalid_request_error"
        },
        "error_type": "invalid_request",
        "errors": [
          {
            "code": "choice",
            "detail": "expected one of queued, running, succeeded, failed, canceled, expired",
            "parameter": "state"
          },
          {
            "code": "range",
            "detail": "expected an integer from 1 to 100",
            "parameter": "limit"
          },
          {
            "code": "cursor",
            "detail": "expected `next_cursor` of an earlier page",
            "parameter": "cursor"
          },
          {
            "code": "unknown",
            "detail": "unknown parameter: expected one of state, pipeline, model, metadata[KEY], limit, cursor",
            "parameter": "colour"
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
    app.stop().await;
}
