//! Connections: how many, how long, and how they end.

mod patient;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use patient::PatientStream;

/// Connections at once; more wait unaccepted. Each has at most one request under way.
pub(crate) const CONNECTIONS: usize = 4_096;
/// From the first wait for a request's head to its end; also how long a connection may idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests under way may take once the service is asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause after a connection could not be accepted, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 on a listener. TLS ends in front.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    /// Drops connections, whatever they do.
    abort: CancellationToken,
}

impl Server {
    /// A server that stops taking connections when `stop` is cancelled, and drops those that remain when
    /// `abort` is.
    pub fn new(
        listener: TcpListener,
        router: Router,
        stop: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        Self { listener, router, stop, abort: abort.child_token() }
    }

    /// Serves until asked to stop; then finishes the requests under way, within a bound.
    pub async fn run(self) {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        while let Some((stream, place)) = self.accept(&places).await {
            let connection = Connection {
                router: self.router.clone(),
                stop: self.stop.clone(),
                abort: self.abort.clone(),
                _place: place,
            };
            connections.spawn(connection.serve(stream));
        }
        let Self { listener, abort, .. } = self;
        drop(listener);
        connections.close();
        if timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "dropping connections that do not end");
            abort.cancel();
            connections.wait().await;
        }
    }

    /// The next connection; `None` when asked to stop.
    async fn accept(&self, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let accepting = async {
            let place = places.clone().acquire_owned().await.ok()?;
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => return Some((stream, place)),
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => None,
            accepted = accepting => accepted,
        }
    }
}

struct Connection {
    router: Router,
    stop: CancellationToken,
    abort: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        // Answers are small and written at once.
        let _ = stream.set_nodelay(true);
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(
                TokioIo::new(PatientStream::new(stream)),
                TowerToHyperService::new(self.router),
            );
        let mut serving = pin!(serving);
        let outcome = tokio::select! {
            outcome = serving.as_mut() => outcome,
            () = self.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = serving => outcome,
                    () = self.abort.cancelled() => return,
                }
            }
        };
        if let Err(error) = outcome {
            // Callers that go away, mostly.
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
