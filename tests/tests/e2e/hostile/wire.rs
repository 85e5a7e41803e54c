//! Sending bytes as they are: no HTTP client would send these.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::requests::{Ending, Request};

/// How long an answer is waited for. Those who ask to be kept waiting are not.
const PATIENCE: Duration = Duration::from_secs(2);
/// Enough of an answer to see what it is.
const MOST_BYTES: usize = 256 * 1024;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        // Asked for by `Expect`, and no answer yet.
        let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").map(str::to_owned).unwrap_or(text);
        let status = text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        Some(Self { status, text })
    }

    /// The first header of this name, in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
    }

    /// The body, as far as it came.
    pub(super) fn body(&self) -> String {
        let (_, mut rest) = self.text.split_once("\r\n\r\n").unwrap_or_default();
        if self.header("transfer-encoding").is_none() {
            return rest.to_owned();
        }
        let mut body = String::new();
        while let Some((length, more)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).unwrap_or(0);
            let Some(chunk) = more.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
            body.push_str(chunk);
            rest = more[length..].trim_start_matches("\r\n");
        }
        body
    }

    /// The job that was accepted, or found again.
    pub(super) fn job(&self) -> Option<&str> {
        let location = self.text.lines().find_map(|line| line.strip_prefix("location: /v1/jobs/"));
        location.filter(|_| matches!(self.status, 200 | 202)).map(str::trim)
    }
}

/// Sends a request on a connection of its own. `None` without an answer: whoever sends garbage may be hung up on.
pub(super) async fn send(address: &str, request: &Request) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.expect("the service listens");
    let mut answer = Vec::new();
    let exchange = async {
        // A service that has answered already need not read the rest.
        let _ = stream.write_all(request.bytes()).await;
        if request.ending() == Ending::HangUp {
            return;
        }
        let mut buffer = vec![0; 16 * 1024];
        while answer.len() < MOST_BYTES {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            }
        }
    };
    let _ = timeout(PATIENCE, exchange).await;
    Answer::parse(&answer)
}
