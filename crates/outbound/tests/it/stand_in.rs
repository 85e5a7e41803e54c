//! A web server, a name server, and a client that may call one address.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use darkroom_outbound::{Guard, Names, Outbound};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Admitted by the guard of these tests.
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Not admitted, and a socket may listen there all the same.
pub(crate) const PRIVATE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A client that takes [`PUBLIC`] for public and asks `names`.
pub(crate) fn client(names: SocketAddr) -> Outbound {
    let guard = Guard::new(vec![format!("{PUBLIC}/32").parse().unwrap()]);
    Outbound::new(guard, Names::of_server(names).unwrap()).unwrap()
}

/// The same where no name is resolved.
pub(crate) fn client_without_names() -> Outbound {
    client((PUBLIC, 1).into())
}

/// What a web server does with each connection, once it has read the request's head.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// Writes this before anything is asked, and closes.
    Blurts(String),
    /// Writes this and closes.
    Says(String),
    /// Writes this, then one byte over and over, with this pause between.
    Drips(String, Duration),
}

pub(crate) fn ok(body: &str) -> Manner {
    Manner::Says(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

pub(crate) fn redirect(to: &str) -> Manner {
    Manner::Says(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
}

/// A web server; stopped when dropped.
pub(crate) struct WebServer {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl WebServer {
    pub(crate) async fn start(ip: Ipv4Addr, port: u16, manner: Manner) -> Self {
        let listener = TcpListener::bind((ip, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned({
            let requests = requests.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    requests.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(answer(stream, manner.clone()));
                }
            }
        }));
        Self { address, requests, _stop: stop.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Connections so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn answer(mut stream: TcpStream, manner: Manner) {
    let mut head = Vec::new();
    let blurts = matches!(manner, Manner::Blurts(_));
    while !blurts && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    match manner {
        Manner::Blurts(text) | Manner::Says(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            // Closing with unread bytes would reset the connection under the answer.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut head).await;
        }
        Manner::Drips(start, pause) => {
            let mut written = stream.write_all(start.as_bytes()).await;
            while written.is_ok() {
                tokio::time::sleep(pause).await;
                written = stream.write_all(b"x").await;
            }
        }
    }
}

/// A name server that answers every question for an IPv4 address with the next of its answers, the last one for
/// ever, good for no time at all.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    questions: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl NameServer {
    pub(crate) async fn start(answers: Vec<Vec<Ipv4Addr>>) -> Self {
        let socket = UdpSocket::bind((PUBLIC, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned({
            let questions = questions.clone();
            async move {
                let mut query = [0; 512];
                while let Ok((length, from)) = socket.recv_from(&mut query).await {
                    let question = question(&query[..length]);
                    let mut addresses = &Vec::new();
                    if question.ends_with(&[0, 1, 0, 1]) {
                        let asked = questions.fetch_add(1, Ordering::SeqCst);
                        addresses = &answers[asked.min(answers.len() - 1)];
                    }
                    let _ = socket.send_to(&reply(&query, question, addresses), from).await;
                }
            }
        }));
        Self { address, questions, _stop: stop.drop_guard() }
    }

    /// Questions for IPv4 addresses so far.
    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

/// Name, type and class: what stands behind the header of twelve bytes.
fn question(query: &[u8]) -> &[u8] {
    let name = query[12..].iter().position(|&length| length == 0).unwrap();
    &query[12..12 + name + 5]
}

/// An answer as RFC 1035 has it: header, the question again, an A record for each address.
fn reply(query: &[u8], question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let count = u8::try_from(addresses.len()).unwrap();
    let mut reply = vec![query[0], query[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
    reply.extend_from_slice(question);
    for address in addresses {
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend_from_slice(&address.octets());
    }
    reply
}
