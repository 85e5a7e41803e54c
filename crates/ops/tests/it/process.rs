//! From the first log line to the exit code.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use crate::services::ROLE;

const SOON: Duration = Duration::from_secs(20);

struct Service {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    address: String,
}

impl Service {
    async fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "services::service", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut service = Self { child, stderr, address: String::new() };
        let starting = service.logged("starting").await;
        assert_eq!(starting["service"], "test-service");
        service.address = starting["address"].as_str().unwrap().to_owned();
        service
    }

    /// The next log line with that message.
    async fn logged(&mut self, message: &str) -> Value {
        loop {
            let line = timeout(SOON, self.stderr.next_line()).await.expect("nothing logged in time").unwrap();
            let line = line.expect("the process has ended");
            match serde_json::from_str::<Value>(&line) {
                Ok(entry) if entry["message"] == message => return entry,
                _ => {}
            }
        }
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    async fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    /// The exit code and the rest of what was written to stderr.
    async fn ended(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        let reading = async {
            while let Some(line) = self.stderr.next_line().await.unwrap() {
                rest.push_str(&line);
                rest.push('\n');
            }
        };
        timeout(SOON, reading).await.expect("did not end in time");
        (self.child.wait().await.unwrap().code(), rest)
    }
}

#[tokio::test]
async fn sigterm_stops_a_service_in_good_order() {
    let service = Service::start("orderly").await;
    assert!(service.get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(service.get("/metrics").await.starts_with("HTTP/1.1 200"));
    let ready = service.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains(r#""nothing":{"status":"ok"}"#), "{ready}");
    // A scraper that keeps its connection open does not hold up the exit.
    let _idle = TcpStream::connect(&service.address).await.unwrap();
    service.signal("-TERM").await;
    let (code, stderr) = service.ended().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(r#""message":"stopped""#), "{stderr}");
}

#[tokio::test]
async fn second_signal_is_the_hard_one() {
    let mut service = Service::start("stubborn").await;
    service.signal("-INT").await;
    service.logged("finishing what runs").await;
    let not_ready = service.get("/readyz").await;
    assert!(not_ready.starts_with("HTTP/1.1 503") && not_ready.contains(r#""stopping":true"#), "{not_ready}");
    service.signal("-TERM").await;
    assert_eq!(service.ended().await.0, Some(0));
}

#[tokio::test]
async fn failed_service_prints_the_causes_and_exits_with_one() {
    let (code, stderr) = Service::start("failing").await.ended().await;
    assert_eq!(code, Some(1));
    let last = stderr.lines().last().unwrap();
    assert_eq!(last, "test-service: failed to connect to Postgres: connection refused");
}

#[tokio::test]
async fn panic_in_a_loop_is_logged_and_ends_the_service() {
    let (code, stderr) = Service::start("panicking").await.ended().await;
    assert_eq!(code, Some(1));
    let panicked = stderr.lines().find(|line| line.contains(r#""message":"out of paper""#));
    assert!(panicked.is_some(), "{stderr}");
    assert!(
        stderr.lines().last().unwrap().starts_with("test-service: task loop ended abnormally"),
        "{stderr}"
    );
}
