use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{Answer, App, KEY};

#[tokio::test]
async fn what_is_not_there_is_a_problem_document() {
    let app = App::start().await;
    insta::assert_json_snapshot!(Answer::of(app.get("/v2/jobs")).await, @r#"
    {
      "status": 404,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "not_found",
        "detail": "there is no such path",
        "error": {
          "code": "not_found",
          "message": "there is no such path",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "not_found",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 404,
        "title": "Not found",
        "type": "urn:darkroom:problem:not_found"
      }
    }
    "#);
    assert_eq!(Answer::of(app.get("/docs/nothing.js")).await.refusal(), (404, "not_found".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_the_right_ones() {
    let app = App::start().await;
    insta::assert_json_snapshot!(Answer::of(app.request(Method::PATCH, "/v1/jobs")).await, @r#"
    {
      "status": 405,
      "headers": {
        "allow": "POST,GET,HEAD",
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "method_not_allowed",
        "detail": "this path does not answer to that method",
        "error": {
          "code": "method_not_allowed",
          "message": "this path does not answer to that method",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "method_not_allowed",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 405,
        "title": "Method not allowed",
        "type": "urn:darkroom:problem:method_not_allowed"
      }
    }
    "#);
    for (method, path) in [
        (Method::GET, "/v1/jobs/x/cancel"),
        (Method::POST, "/v1/models"),
        (Method::PUT, "/r/x.png"),
        (Method::POST, "/docs/"),
    ] {
        let answer = Answer::of(app.request(method, path)).await;
        assert_eq!(answer.refusal(), (405, "method_not_allowed".to_owned()), "{path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn request_ids_are_taken_over_or_made() {
    let app = App::start().await;
    let ask = async |id: &'static str| {
        let response = app.get("/v1/jobs/x").header("x-request-id", id).send().await.unwrap();
        let header = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["request_id"], header.as_str());
        header
    };
    assert_eq!(ask("mine-1").await, "mine-1");
    assert_ne!(ask("not mine").await, "not mine");
    app.stop().await;
}

#[tokio::test]
async fn the_trace_context_is_stored_with_the_job() {
    let app = App::start().await;
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for traceparent in [context, "00-nonsense"] {
        let request = app.post("/v1/jobs").header("traceparent", traceparent).json(&crate::app::picture());
        assert_eq!(Answer::of(request).await.status, 202);
    }
    let kept = format!("select count(*) from job_requests where traceparent = '{context}'");
    assert_eq!(app.database.count(&kept).await, 1);
    assert_eq!(app.database.count("select count(*) from job_requests where traceparent is null").await, 1);
    app.stop().await;
}

/// The head of a submission to a path that there is not, with a body of so many bytes.
fn refused(length: usize) -> String {
    format!(
        "POST /fal/no/model HTTP/1.1\r\nhost: x\r\nauthorization: Key {KEY}\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_connection_outlives_a_request_that_was_refused_before_its_body_was_read() {
    let app = App::start().await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    stream.write_all(refused(2).as_bytes()).await.unwrap();
    stream.write_all(b"{}").await.unwrap();
    let mut answer = vec![0; 4_096];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("connection: close"), "{answer}");
    let next = format!(
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(next.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // Too much to be read for nothing: the caller is told.
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    stream.write_all(refused(1_000_000).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("connection: close"), "{answer}");
    app.stop().await;
}
