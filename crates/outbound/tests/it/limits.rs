use std::time::Duration;

use darkroom_outbound::{Error, MAX_EXCERPT_BYTES, Message};
use tokio::time::Instant;

use crate::stand_in::{Manner, PUBLIC, WebServer, client_without_names, ok};

fn message(timeout: Duration) -> Message {
    Message { headers: Default::default(), body: "{}".into(), timeout }
}

#[tokio::test]
async fn headers_that_come_byte_by_byte_run_out_of_time() {
    let server = WebServer::start(
        PUBLIC,
        0,
        Manner::Drips("HTTP/1.1 200 OK\r\nX-Slow: ".into(), Duration::from_millis(50)),
    )
    .await;
    let started = Instant::now();
    let failed =
        client_without_names().post(&server.url(), message(Duration::from_secs(1))).await.unwrap_err();
    assert!(matches!(failed, Error::Timeout(_)), "{failed:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn of_a_body_without_an_end_only_the_beginning_is_read() {
    let endless = Manner::Drips("HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"a".repeat(100_000), Duration::ZERO);
    let server = WebServer::start(PUBLIC, 0, endless).await;
    let answer = client_without_names().post(&server.url(), message(Duration::from_secs(10))).await.unwrap();
    assert_eq!((answer.status, answer.excerpt), (200, "a".repeat(MAX_EXCERPT_BYTES)));
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_holds_nobody_up() {
    let slow = Manner::Drips("HTTP/1.1 200 OK\r\n\r\nhello".to_owned(), Duration::from_millis(500));
    let server = WebServer::start(PUBLIC, 0, slow).await;
    let started = Instant::now();
    let answer = client_without_names().post(&server.url(), message(Duration::from_secs(30))).await.unwrap();
    assert!(answer.status == 200 && answer.excerpt.starts_with("hello"), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_is_no_text_in_an_answer_is_made_storable() {
    let server = WebServer::start(PUBLIC, 0, ok("a\0b")).await;
    let answer = client_without_names().post(&server.url(), message(Duration::from_secs(10))).await.unwrap();
    assert_eq!(answer.excerpt, "a\u{fffd}b");
}

#[tokio::test]
async fn nobody_there_and_no_http_are_told_apart() {
    let server = WebServer::start(PUBLIC, 0, Manner::Blurts("220 mail.example ESMTP\r\n".to_owned())).await;
    let url = server.url();
    let failed = client_without_names().post(&url, message(Duration::from_secs(10))).await.unwrap_err();
    assert!(matches!(failed, Error::Broken(_)), "{failed:?}");
    let secure = url.replace("http:", "https:");
    let failed = client_without_names().post(&secure, message(Duration::from_secs(10))).await.unwrap_err();
    assert!(matches!(failed, Error::Tls(_)), "{failed:?}");
    drop(server);
    let failed = client_without_names().post(&url, message(Duration::from_secs(10))).await.unwrap_err();
    assert!(matches!(failed, Error::Connect(_)), "{failed:?}");
}
