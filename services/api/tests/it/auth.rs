use std::time::{Duration, Instant};

use darkroom_store::Owner;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::{Answer, App, OTHER_KEY, eventually, picture};

#[tokio::test]
async fn a_missing_or_wrong_key_is_refused() {
    let app = App::start().await;
    let answer = Answer::of(app.anonymous(Method::GET, &app.url("/v1/jobs"))).await;
    insta::assert_json_snapshot!(answer, @r#"
    {
      "status": 401,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json",
        "www-authenticate": "Bearer"
      },
      "body": {
        "code": "unauthorized",
        "detail": "send a working API key as `Authorization: Bearer KEY`",
        "error": {
          "code": "unauthorized",
          "message": "send a working API key as `Authorization: Bearer KEY`",
          "param": null,
          "type": "authentication_error"
        },
        "error_type": "unauthorized",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 401,
        "title": "No working API key",
        "type": "urn:darkroom:problem:unauthorized"
      }
    }
    "#);
    for header in ["Bearer dk_wrong", "Bearer ", "Basic ZGtfZmlyc3Q=", "dk_first"] {
        let request = app.anonymous(Method::POST, &app.url("/v1/jobs")).header("authorization", header);
        assert_eq!(Answer::of(request.json(&picture())).await.refusal().0, 401, "{header}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_the_body_is_read() {
    let app = App::start().await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    // The body that is announced never comes.
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer dk_wrong\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 64];
    let length = timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 401"), "{:?}", String::from_utf8_lossy(&answer));
    app.stop().await;
}

#[tokio::test]
async fn scopes_and_operator_keys_are_kept_apart() {
    let app = App::start().await;
    let with = |method, path: &str, key| app.anonymous(method, &app.url(path)).bearer_auth(key);
    let submitted = Answer::of(with(Method::POST, "/v1/jobs", "dk_first_submit").json(&picture())).await;
    assert_eq!(submitted.status, 202);
    let path = format!("/v1/jobs/{}", submitted.id());
    let missing = (403, "missing_scope".to_owned());
    assert_eq!(Answer::of(with(Method::GET, &path, "dk_first_submit")).await.refusal(), missing);
    assert_eq!(Answer::of(with(Method::GET, &path, "dk_first_read")).await.status, 200);
    let submitting = with(Method::POST, "/v1/jobs", "dk_first_read").json(&picture());
    insta::assert_json_snapshot!(Answer::of(submitting).await, @r#"
    {
      "status": 403,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "missing_scope",
        "detail": "this key lacks the scope `submit`",
        "error": {
          "code": "missing_scope",
          "message": "this key lacks the scope `submit`",
          "param": null,
          "type": "permission_error"
        },
        "error_type": "missing_scope",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 403,
        "title": "Not allowed with this key",
        "type": "urn:darkroom:problem:missing_scope"
      }
    }
    "#);
    assert_eq!(Answer::of(with(Method::DELETE, &path, "dk_first_read")).await.refusal(), missing);
    assert_eq!(
        Answer::of(with(Method::GET, "/v1/jobs", "dk_operator")).await.refusal(),
        (403, "operator_key".to_owned())
    );
    app.stop().await;
}

#[tokio::test]
async fn another_tenants_job_and_no_job_are_answered_alike() {
    let app = App::start().await;
    let id = app.queued().await;
    let foreign = |method, path: String| app.anonymous(method, &app.url(&path)).bearer_auth(OTHER_KEY);
    let not_found = (404, "not_found".to_owned());
    for id in [id.as_str(), "01890000-0000-7000-8000-000000000000", "nonsense", "%ff"] {
        for request in [
            foreign(Method::GET, format!("/v1/jobs/{id}")),
            foreign(Method::GET, format!("/v1/jobs/{id}")).header("prefer", "wait=5"),
            foreign(Method::POST, format!("/v1/jobs/{id}/cancel")),
            foreign(Method::DELETE, format!("/v1/jobs/{id}")),
        ] {
            assert_eq!(Answer::of(request).await.refusal(), not_found, "{id}");
        }
    }
    let list = Answer::of(foreign(Method::GET, "/v1/jobs".to_owned())).await;
    assert_eq!(list.body, json!({"jobs": [], "next_cursor": null}));
    app.stop().await;
}

#[tokio::test]
async fn a_revoked_key_stops_working_within_a_second() {
    let app = App::start().await;
    assert_eq!(Answer::of(app.get("/v1/jobs")).await.status, 200);
    let keys = app.database.store.api_keys(Owner::Anybody).await.unwrap();
    let key = keys.iter().find(|key| key.name == "dk_first").unwrap();
    // In use all the time, so that it is remembered as well as can be.
    let in_use = async || Answer::of(app.get("/v1/jobs")).await.status;
    let revoking = async {
        app.database.store.revoke_api_key(key.id).await.unwrap();
        let revoked = Instant::now();
        eventually("the key is refused", async || in_use().await == 401).await;
        revoked.elapsed()
    };
    assert_eq!(in_use().await, 200);
    let worked_on = revoking.await;
    assert!(worked_on < Duration::from_secs(1), "it worked for {worked_on:?} longer");
    assert_eq!(in_use().await, 401);
    app.stop().await;
}
