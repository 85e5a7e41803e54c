//! A caller that costs little: requests are bytes that were made before, and of an answer no more is read than has
//! to be.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Heads of answers are shorter.
const MAX_HEAD: usize = 16 << 10;

/// A connection that is kept, HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body of an answer of this status.
    pub(crate) fn expect(self, status: u16) -> Result<Vec<u8>> {
        if self.status != status {
            bail!("status {} instead of {status}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        Ok(self.body)
    }
}

/// What an answer's head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head itself.
    length: usize,
    body: usize,
}

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    pub(crate) fn get(path: &str, key: &str, further: &str) -> Self {
        Self(
            format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n{further}\r\n")
                .into(),
        )
    }

    pub(crate) fn post(path: &str, key: &str, json: &str) -> Self {
        let length = json.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        Self((head + json).into())
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("failed to reach {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(MAX_HEAD) })
    }

    /// Sends a request and waits for no answer.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<()> {
        Ok(self.stream.write_all(&request.0).await?)
    }

    /// Sends a request and receives the answer.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Answer> {
        self.send(request).await?;
        let head = loop {
            if let Some(head) = head(&self.received)? {
                break head;
            }
            self.receive().await?;
        };
        while self.received.len() < head.length + head.body {
            self.receive().await?;
        }
        let body = self.received[head.length..head.length + head.body].to_vec();
        self.received.drain(..head.length + head.body);
        Ok(Answer { status: head.status, body })
    }

    async fn receive(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            bail!("the connection ended before the answer");
        }
        Ok(())
    }
}

/// `None` while it is not there in full.
fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        if bytes.len() > MAX_HEAD {
            bail!("an answer without end of its head");
        }
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end]).context("an answer's head is no text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let status = status.context("an answer without a status")?;
    let body = if status == 304 { 0 } else { length.context("an answer without a length")? };
    Ok(Some(Head { status, length: end + 4, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_when_they_are_there() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y\r\n\r\nabc";
        assert_eq!(head(&bytes[..30]).unwrap(), None);
        assert_eq!(head(bytes).unwrap(), Some(Head { status: 200, length: 45, body: 12 }));
    }

    #[test]
    fn not_modified_has_no_body() {
        let bytes = b"HTTP/1.1 304 Not Modified\r\netag: a\r\n\r\n";
        assert_eq!(head(bytes).unwrap(), Some(Head { status: 304, length: bytes.len(), body: 0 }));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
