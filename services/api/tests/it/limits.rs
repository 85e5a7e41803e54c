use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::{App, KEY, SOON, picture};

/// An upload whose body comes when the server asks for it.
async fn begin_upload(app: &App) -> TcpStream {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nexpect: 100-continue\r\n\
         content-type: multipart/form-data; boundary=x\r\ncontent-length: 1000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn first_line(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 64];
    let length = timeout(SOON, stream.read(&mut bytes)).await.expect("an answer in time").unwrap();
    String::from_utf8_lossy(&bytes[..length]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn sixteen_uploads_are_read_at_once_and_the_rest_wait_unread() {
    let app = App::start().await;
    let mut first = Vec::new();
    for _ in 0..16 {
        let mut stream = begin_upload(&app).await;
        assert_eq!(first_line(&mut stream).await, "HTTP/1.1 100 Continue");
        first.push(stream);
    }
    let mut next = begin_upload(&app).await;
    let early = timeout(Duration::from_millis(300), first_line(&mut next)).await;
    assert!(early.is_err(), "{early:?}");
    first.pop();
    assert_eq!(first_line(&mut next).await, "HTTP/1.1 100 Continue");
    // Or the server would wait for them before it stops.
    drop((first, next));
    app.stop().await;
}

/// A document whose body comes when the server asks for it.
async fn begin_document(app: &App, size: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\n{size}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn sixteen_large_documents_are_held_at_once_and_small_ones_do_not_wait_for_them() {
    let app = App::start().await;
    let mut first = Vec::new();
    for size in ["content-length: 100000", "transfer-encoding: chunked"].iter().cycle().take(16) {
        let mut stream = begin_document(&app, size).await;
        assert_eq!(first_line(&mut stream).await, "HTTP/1.1 100 Continue");
        first.push(stream);
    }
    let mut next = begin_document(&app, "content-length: 16385").await;
    let early = timeout(Duration::from_millis(300), first_line(&mut next)).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(app.submit(&picture()).await.status, 202);
    first.pop();
    assert_eq!(first_line(&mut next).await, "HTTP/1.1 100 Continue");
    drop((first, next));
    app.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let app = App::start().await;
    let mut stream = begin_upload(&app).await;
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 100 Continue");
    stream.write_all(b"--x\r\ncontent-disposition: form-data; name=\"image\"\r\n\r\nabc").await.unwrap();
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 408 Request Timeout");
    app.stop().await;
}
