//! Somebody who is told by webhook.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a receiver does with a message.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Answers with this status.
    Status(u16),
    /// Answers with a redirect to this URL.
    Redirect(String),
    /// Takes the message and never answers.
    Silent,
    /// Answers 200 byte by byte, and never comes to the end of the headers.
    SlowLoris,
    /// Answers 200 with a body that has no end.
    Endless,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Received {
    /// A header, which has to be there.
    ///
    /// # Panics
    /// When it is not.
    pub fn header(&self, name: &str) -> &str {
        let header = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        header.to_str().expect("headers are text")
    }

    /// Its body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// A receiver on a port of its own; stopped when dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it takes messages.
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    _stop: DropGuard,
}

impl Receiver {
    /// A receiver that deals with each message in the next of these manners, and with all later ones in the last.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("the socket has an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let (taken, manners) = (received.clone(), manners.to_vec());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, taken.clone(), manners.clone()));
            }
        }));
        Self { url: format!("http://{address}/hooks"), received, _stop: stop.drop_guard() }
    }

    /// What came so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(mut stream: TcpStream, taken: Arc<Mutex<Vec<Received>>>, manners: Vec<Manner>) {
    let Some(message) = read(&mut stream).await else { return };
    let place = {
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push(message);
        taken.len() - 1
    };
    // A caller that goes away ends the answer.
    let _ = answer(&mut stream, &manners[place.min(manners.len() - 1)]).await;
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let lines = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let fields = lines.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers: HeaderMap = fields
        .map(|(name, value)| {
            let name = HeaderName::try_from(name).expect("a header's name");
            (name, HeaderValue::try_from(value).expect("a header's value"))
        })
        .collect();
    let length =
        headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { headers, body: String::from_utf8_lossy(&bytes[head..]).into_owned() })
}

async fn answer(stream: &mut TcpStream, manner: &Manner) -> std::io::Result<()> {
    let drip = Duration::from_millis(100);
    match manner {
        Manner::Status(status) => {
            let text = format!("HTTP/1.1 {status} Said\r\nContent-Length: 5\r\n\r\nheard");
            stream.write_all(text.as_bytes()).await
        }
        Manner::Redirect(to) => {
            let text = format!("HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await
        }
        Manner::Silent => std::future::pending().await,
        Manner::SlowLoris => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ").await?;
            loop {
                tokio::time::sleep(drip).await;
                stream.write_all(b"x").await?;
            }
        }
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
    }
}
