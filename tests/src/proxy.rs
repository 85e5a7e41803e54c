//! A line to a server that can be disturbed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a server may take to accept a connection.
const CONNECT_BOUND: Duration = Duration::from_secs(5);
const CHUNK: usize = 16 * 1024;

/// What happens to the bytes of every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    /// They pass.
    None,
    /// They are held, and nobody is told: as on a line that has gone dead. They pass once it is over.
    Hang,
    /// Every chunk comes so much later.
    Delay(Duration),
    /// So many bytes a second pass, in each direction of each connection.
    Throttle(u32),
    /// Connections are reset, present ones and new ones.
    Refuse,
    /// Connections are reset after so many bytes of requests.
    CutAfter(usize),
    /// Requests get this answer in place of the server's.
    Answer(&'static str),
}

/// A listener on loopback that hands every connection on to one server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    _listening: JoinSet<()>,
}

#[derive(Debug)]
struct Line {
    server: String,
    disturbance: watch::Sender<Disturbance>,
    /// Tells every connection that there is of its end.
    present: Mutex<watch::Sender<()>>,
    trap: Mutex<Trap>,
}

/// Which reply is lost next.
#[derive(Debug, Default)]
struct Trap {
    /// What a request must contain for its reply to be lost.
    request: Option<Vec<u8>>,
    /// What a reply must contain to be lost.
    reply: Option<Vec<u8>>,
    sprung: usize,
}

impl Proxy {
    /// A line to `server`, `host:port`.
    pub async fn start(server: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the listener has an address");
        let (disturbance, _) = watch::channel(Disturbance::None);
        let present = Mutex::new(watch::Sender::default());
        let line = Arc::new(Line { server: server.into(), disturbance, present, trap: Mutex::default() });
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, line.clone()));
        Self { address, line, _listening: listening }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Disturbs the line from now on, connections that exist included.
    pub fn disturb(&self, disturbance: Disturbance) {
        self.line.disturbance.send_replace(disturbance);
    }

    /// Ends the disturbance.
    pub fn mend(&self) {
        self.disturb(Disturbance::None);
    }

    /// Resets every connection, once. Those that follow pass.
    ///
    /// # Panics
    /// When one does not end.
    pub async fn reset(&self) {
        let present = std::mem::take(&mut *self.line.present());
        present.send_replace(());
        self.mend();
        timeout(CONNECT_BOUND, present.closed()).await.expect("connections are reset");
    }

    /// The next request that contains `pattern` reaches the server, and its reply is lost with the connection.
    pub fn lose_reply_to(&self, pattern: impl Into<Vec<u8>>) {
        self.line.trap().request = Some(pattern.into());
    }

    /// The next reply that contains `pattern`, in one piece, is lost with the connection.
    pub fn lose_reply_with(&self, pattern: impl Into<Vec<u8>>) {
        self.line.trap().reply = Some(pattern.into());
    }

    /// How many replies were lost so.
    pub fn replies_lost(&self) -> usize {
        self.line.trap().sprung
    }
}

impl Line {
    fn present(&self) -> std::sync::MutexGuard<'_, watch::Sender<()>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trap(&self) -> std::sync::MutexGuard<'_, Trap> {
        self.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the reply to this request is to be lost. `seen` is what came before, as far as a pattern may
    /// begin there.
    fn springs(&self, seen: &mut Vec<u8>, chunk: &[u8]) -> bool {
        let mut trap = self.trap();
        let Some(pattern) = &trap.request else { return false };
        seen.extend_from_slice(chunk);
        if contains(seen, pattern) {
            trap.request = None;
            trap.sprung += 1;
            return true;
        }
        let kept = pattern.len().saturating_sub(1);
        seen.drain(..seen.len().saturating_sub(kept));
        false
    }

    /// Whether this reply is to be lost.
    fn swallows(&self, reply: &[u8]) -> bool {
        let mut trap = self.trap();
        let found = trap.reply.as_ref().is_some_and(|pattern| contains(reply, pattern));
        if found {
            trap.reply = None;
            trap.sprung += 1;
        }
        found
    }
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}

async fn listen(listener: TcpListener, line: Arc<Line>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let (disturbance, ended) = (line.disturbance.subscribe(), line.present().subscribe());
        connections.spawn(Connection { line: line.clone(), disturbance, ended, requested: 0 }.carry(near));
        // What has ended is forgotten.
        while connections.try_join_next().is_some() {}
    }
}

struct Connection {
    line: Arc<Line>,
    disturbance: watch::Receiver<Disturbance>,
    /// Changed when the connection is to be reset.
    ended: watch::Receiver<()>,
    /// Bytes of requests that have passed.
    requested: usize,
}

/// What comes next on a connection.
enum Step {
    Request(usize),
    Reply(usize),
    Changed,
    Ended,
}

impl Connection {
    async fn carry(mut self, near: TcpStream) {
        let mut near = near;
        // Not the orderly end that a peer may take for a whole answer.
        let _ = near.set_zero_linger();
        self.exchange(&mut near).await;
    }

    async fn exchange(&mut self, near: &mut TcpStream) {
        if !self.passes().await {
            return;
        }
        let Ok(Ok(mut far)) = timeout(CONNECT_BOUND, TcpStream::connect(&self.line.server)).await else {
            return;
        };
        let (mut request, mut reply) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut seen = Vec::new();
        let mut losing = false;
        loop {
            let step = tokio::select! {
                read = near.read(&mut request) => read.map_or(Step::Ended, Step::Request),
                read = far.read(&mut reply) => read.map_or(Step::Ended, Step::Reply),
                changed = self.disturbance.changed() => changed.map_or(Step::Ended, |()| Step::Changed),
                _ = self.ended.changed() => Step::Ended,
            };
            match step {
                Step::Changed if *self.disturbance.borrow_and_update() != Disturbance::Refuse => {}
                Step::Changed | Step::Ended | Step::Request(0) => break,
                Step::Reply(0) => return self.end_orderly(near).await,
                Step::Reply(size) if losing || self.line.swallows(&reply[..size]) => break,
                Step::Request(size) => {
                    losing |= self.line.springs(&mut seen, &request[..size]);
                    if !self.pass_request(&request[..size], near, &mut far).await {
                        break;
                    }
                }
                Step::Reply(size) => {
                    if !self.passes().await {
                        break;
                    }
                    self.slow_down(size).await;
                    if near.write_all(&reply[..size]).await.is_err() {
                        break;
                    }
                }
            }
        }
        let _ = far.set_zero_linger();
    }

    /// The server has nothing more to say. A peer that still sends would be reset before it has read the answer.
    async fn end_orderly(&mut self, near: &mut TcpStream) {
        let _ = near.shutdown().await;
        let mut nowhere = tokio::io::sink();
        tokio::select! {
            _ = timeout(CONNECT_BOUND, tokio::io::copy(near, &mut nowhere)) => {}
            _ = self.ended.changed() => {}
        }
    }

    /// Hands a request on, or what stands for it. `false` when the connection is over.
    async fn pass_request(&mut self, bytes: &[u8], near: &mut TcpStream, far: &mut TcpStream) -> bool {
        if !self.passes().await {
            return false;
        }
        let disturbance = self.disturbance.borrow().clone();
        if let Disturbance::Answer(answer) = disturbance {
            let _ = near.write_all(answer.as_bytes()).await;
            self.end_orderly(near).await;
            return false;
        }
        self.requested += bytes.len();
        if let Disturbance::CutAfter(most) = disturbance
            && self.requested > most
        {
            return false;
        }
        self.slow_down(bytes.len()).await;
        far.write_all(bytes).await.is_ok()
    }

    /// Waits while the line hangs. `false` when connections are to be reset.
    async fn passes(&mut self) -> bool {
        let wait = self.disturbance.wait_for(|disturbance| *disturbance != Disturbance::Hang);
        wait.await.is_ok_and(|disturbance| *disturbance != Disturbance::Refuse)
    }

    async fn slow_down(&self, bytes: usize) {
        let pause = match *self.disturbance.borrow() {
            Disturbance::Delay(delay) => delay,
            Disturbance::Throttle(rate) => Duration::from_secs_f64(bytes as f64 / f64::from(rate)),
            _ => return,
        };
        sleep(pause).await;
    }
}
