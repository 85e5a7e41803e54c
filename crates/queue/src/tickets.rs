//! Consuming.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use darkroom_jobs::Lane;
use futures_util::future::join_all;
use lapin::uri::AMQPUri;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    QueueConfig, Ticket,
    backoff::Backoff,
    consumer::{Consumer, Output},
    link::{Link, LinkError},
};

/// What to consume.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The lanes, each on a channel of its own.
    pub lanes: Vec<Lane>,
    /// How many unacked tickets of each lane the broker sends: the number of free slots, at least 1.
    pub prefetch: u16,
}

/// The tickets of some lanes, from now until it is told to stop or dropped.
///
/// Whatever ends a consumer (a broker restart, a deleted queue, the broker's consumer time-out), it is set up
/// again, queue included, without end. Unacked tickets are then delivered again.
pub struct Tickets {
    tickets: mpsc::Receiver<Ticket>,
    consuming: Arc<AtomicUsize>,
    lanes: usize,
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl Tickets {
    /// Starts consuming in the background. Call it inside a tokio runtime.
    ///
    /// When `stop` is cancelled, no more tickets are delivered, those not yet received go back to the broker,
    /// and the connection stays until the last ticket is acked or dropped.
    pub fn start(config: &QueueConfig, subscription: Subscription, stop: CancellationToken) -> Self {
        let lanes = subscription.lanes.len();
        let prefetch = subscription.prefetch.max(1);
        let (sender, tickets) = mpsc::channel(lanes.max(1) * usize::from(prefetch));
        let consuming = Arc::<AtomicUsize>::default();
        // Dropping the receiving end must stop the supervisor, but not what else hangs on `stop`.
        let stop = stop.child_token();
        let output = Output { tickets: sender, consuming: consuming.clone(), stop: stop.clone() };
        let supervisor = Supervisor { uri: config.uri(), lanes: subscription.lanes, prefetch, output };
        let supervisor = tokio::spawn(supervisor.run());
        Self { tickets, consuming, lanes, stop, supervisor }
    }

    /// The next ticket; `None` once stopped. Cancel safe.
    pub async fn recv(&mut self) -> Option<Ticket> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                self.give_back();
                None
            }
            ticket = self.tickets.recv() => ticket,
        }
    }

    /// Every lane has a consumer now.
    pub fn is_consuming(&self) -> bool {
        self.consuming.load(Ordering::Relaxed) == self.lanes
    }

    /// Waits, after `stop` was cancelled, until the broker knows that nothing is consumed here any more. Takes
    /// a few seconds at most.
    pub async fn stopped(mut self) {
        self.stop.cancelled().await;
        self.give_back();
        if let Err(error) = (&mut self.supervisor).await {
            tracing::error!(%error, "ticket consumer ended abnormally");
        }
    }

    fn give_back(&mut self) {
        self.tickets.close();
        while let Ok(ticket) = self.tickets.try_recv() {
            drop(ticket);
        }
    }
}

impl Drop for Tickets {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("consuming", &self.consuming).field("lanes", &self.lanes).finish()
    }
}

struct Supervisor {
    uri: Result<AMQPUri, String>,
    lanes: Vec<Lane>,
    prefetch: u16,
    output: Output,
}

impl Supervisor {
    async fn run(self) {
        let stop = &self.output.stop;
        let mut backoff = Backoff::new();
        while !stop.is_cancelled() {
            let began = Instant::now();
            match self.connect().await {
                Ok(link) => {
                    tracing::info!("consuming");
                    self.consume(Arc::new(link)).await;
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "failed to connect to the broker for consuming");
                }
            }
            backoff.pause(began, stop).await;
        }
    }

    async fn connect(&self) -> Result<Link, LinkError> {
        let uri = self.uri.clone().map_err(LinkError::Url)?;
        tokio::select! {
            link = Link::connect(uri, "darkroom consumer") => link,
            () = self.output.stop.cancelled() => Err(LinkError::Stopped),
        }
    }

    /// Consumes every lane until the connection ends or it is time to stop.
    async fn consume(&self, link: Arc<Link>) {
        let ended = CancellationToken::new();
        let watch = async {
            link.ended(&self.output.stop).await;
            ended.cancel();
        };
        let consumers = self.lanes.iter().map(|lane| {
            let consumer =
                Consumer { link: link.clone(), lane, prefetch: self.prefetch, ended: ended.clone() };
            consumer.run(&self.output)
        });
        tokio::join!(watch, join_all(consumers));
        if !self.output.stop.is_cancelled() {
            tracing::warn!("lost the broker connection for consuming");
        } else if let Some(link) = Arc::into_inner(link) {
            // Else the last ticket closes it.
            link.close().await;
        }
    }
}
