//! The client against a server that answers by a script.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::time::{Duration, Instant};

use darkroom_client::{Client, Error, JobEvent, Previews, TextToImageRequest};
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

const MODELS: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 13\r\n\r\n{\"models\":[]}";
const BUSY: &str =
    "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
const HANG_UP: &str = "";

/// A server that gives one answer per connection, and the requests it got.
async fn script(answers: &'static [&'static str]) -> (String, Client, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests.push(read_request(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    let client = Client::new(&url, "dk_key").unwrap();
    (url, client, serving)
}

/// The head and what follows it in one go: enough for the short bodies sent here.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    let mut bytes = [0; 4096];
    while !request.contains("\r\n\r\n") || (request.starts_with("POST") && !request.ends_with('}')) {
        let length = stream.read(&mut bytes).await.unwrap();
        assert_ne!(length, 0, "{request}");
        request.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    request
}

#[tokio::test]
async fn calls_are_repeated_when_the_service_asks_for_it() {
    let (_, client, serving) = script(&[BUSY, HANG_UP, MODELS]).await;
    let started = Instant::now();
    assert!(client.models().await.unwrap().is_empty());
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After is obeyed");
    let requests = serving.await.unwrap();
    assert!(requests[0].starts_with("GET /prefix/v1/models HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("authorization: Bearer dk_key\r\n"), "{}", requests[0]);
}

#[tokio::test]
async fn a_repeated_submission_has_the_same_key() {
    const REFUSED: &str = "HTTP/1.1 422 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let (_, client, serving) = script(&[HANG_UP, REFUSED]).await;
    let refused = client.submit_text_to_image(&TextToImageRequest::new("x")).await;
    assert!(matches!(refused, Err(Error::Answer { .. })), "{refused:?}");
    let keys: Vec<String> = serving
        .await
        .unwrap()
        .iter()
        .map(|request| request.lines().find(|line| line.starts_with("idempotency-key: ")).unwrap().to_owned())
        .collect();
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn results_are_fetched_without_the_key() {
    let (url, client, serving) = script(&[MODELS]).await;
    client.fetch(&url).await.unwrap();
    assert!(!serving.await.unwrap()[0].contains("authorization"));
}

/// A job at a version, as the only event of a connection that ends then.
macro_rules! told {
    ($state:literal, $version:literal) => {
        concat!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n",
            ": a line without meaning\n\n",
            r#"data: {"id":"01a20632-ee67-7326-a71f-af3b22ca21c0","pipeline":"text-to-image","model":"m","#,
            r#""priority":"normal","input":{},"artifacts":[],"attempts":1,"price":{"amount":"0","currency":"USD"},"#,
            r#""metadata":{},"created_at":"2026-01-31T12:00:00Z","deadline":"2026-01-31T12:00:00Z","#,
            r#""expires_at":"2026-01-31T12:00:00Z","links":{"self":"","cancel":""},"state":""#,
            $state,
            r#"","version":"#,
            $version,
            "}\nevent: job\n\n"
        )
    };
}

#[tokio::test]
async fn a_stream_of_events_goes_on_where_it_broke() {
    let answers = &[told!("running", "2"), HANG_UP, BUSY, told!("succeeded", "3")];
    let (_, client, serving) = script(answers).await;
    let events = client.follow(Uuid::nil(), Previews::Shown).try_collect::<Vec<_>>().await.unwrap();
    let versions = events.iter().map(|event| match event {
        JobEvent::Job(job) => job.version,
        other => panic!("{other:?}"),
    });
    assert_eq!(versions.collect::<Vec<_>>(), [2, 3]);
    let requests = serving.await.unwrap();
    assert!(requests[0].starts_with("GET /prefix/v1/jobs/") && requests[0].contains("/events?previews=true"));
    assert!(!requests[0].contains("last-event-id"), "{}", requests[0]);
    assert!(requests[1..].iter().all(|request| request.contains("last-event-id: 2\r\n")), "{requests:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_transport_error() {
    let client = Client::new("http://127.0.0.1:1", "dk_key").unwrap();
    let error = client.models().await.unwrap_err();
    assert!(matches!(error, Error::Transport(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("v1/models"));
}

#[test]
fn what_is_no_base_url_is_refused() {
    for url in ["", "127.0.0.1:80", "ftp://host", "mailto:a@b"] {
        assert!(matches!(Client::new(url, "k"), Err(Error::Settings(_))), "{url}");
    }
}
