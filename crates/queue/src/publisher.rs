//! Publishing.

use std::{fmt, sync::Arc, time::Duration};

use darkroom_jobs::Lane;
use lapin::uri::AMQPUri;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    QueueConfig,
    backoff::Backoff,
    link::{Link, LinkError},
    session::Session,
};

/// The longest a call of [`Publisher::publish`] takes.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call waits for a connection that is being made.
const LINK_TIMEOUT: Duration = Duration::from_secs(2);

/// Pauses before the tries after the first. A queue may have gone, and is then declared again; and one that
/// somebody is just creating is already known to RabbitMQ 3.10 while it still nacks messages, or even ends the
/// connections of those who use it.
const RETRY_PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(1000),
];

/// No more tries after this: what takes so long is not cured by another.
const RETRY_WITHIN: Duration = Duration::from_secs(3);

/// Writes tickets, over a connection of its own that is made again without end. Clones share it.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    link: watch::Receiver<Option<Arc<Link>>>,
    /// One batch at a time: see the module `batch` for why.
    session: Mutex<Option<Session>>,
    supervisor: TaskTracker,
    _stop: DropGuard,
}

impl Publisher {
    /// Connects in the background, until `stop` is cancelled or the last clone is dropped. Call it inside a
    /// tokio runtime.
    pub fn start(config: &QueueConfig, stop: CancellationToken) -> Self {
        let stop = stop.child_token();
        let (sender, link) = watch::channel(None);
        let supervisor = TaskTracker::new();
        supervisor.spawn(supervise(config.uri(), sender, stop.clone()));
        supervisor.close();
        Self(Arc::new(Inner { link, session: Mutex::default(), supervisor, _stop: stop.drop_guard() }))
    }

    /// Publishes one ticket to each of `lanes`, which may repeat, and tells for each whether it was taken:
    /// whether a quorum queue has it on disk. One that was not taken may arrive all the same.
    ///
    /// Never fails: while the broker is away, or takes no messages, nothing is taken. Takes at most ten
    /// seconds. Concurrent calls wait for each other.
    pub async fn publish(&self, lanes: &[Lane]) -> Vec<bool> {
        let taken = match timeout(PUBLISH_TIMEOUT, self.exchange(lanes)).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(tickets = lanes.len(), error, "published nothing");
                vec![false; lanes.len()]
            }
            Err(_) => {
                tracing::warn!(tickets = lanes.len(), "publishing took too long");
                vec![false; lanes.len()]
            }
        };
        let published = taken.iter().filter(|taken| **taken).count();
        metrics::counter!("darkroom_tickets_published_total", "taken" => "true").increment(published as u64);
        metrics::counter!("darkroom_tickets_published_total", "taken" => "false")
            .increment((lanes.len() - published) as u64);
        taken
    }

    /// There is a connection to the broker, and the broker takes messages.
    pub fn is_connected(&self) -> bool {
        self.0.link.borrow().as_ref().is_some_and(|link| link.is_connected() && !link.is_blocked())
    }

    /// Waits, after `stop` was cancelled, for the connection to be closed. Takes a few seconds at most.
    pub async fn stopped(&self) {
        self.0.supervisor.wait().await;
    }

    async fn exchange(&self, lanes: &[Lane]) -> Result<Vec<bool>, LinkError> {
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let mut kept = self.0.session.lock().await;
        let mut taken = self.attempt(&mut kept, lanes).await?;
        for pause in RETRY_PAUSES {
            let missing = lanes.iter().zip(&taken).filter(|(_, taken)| !**taken);
            let missing: Vec<Lane> = missing.map(|(lane, _)| lane.clone()).collect();
            if missing.is_empty() || began.elapsed() > RETRY_WITHIN {
                break;
            }
            sleep(pause).await;
            // What the tries before have achieved stands.
            let Ok(again) = self.attempt(&mut kept, &missing).await else { break };
            for (taken, again) in taken.iter_mut().filter(|taken| !**taken).zip(again) {
                *taken = again;
            }
        }
        Ok(taken)
    }

    /// Publishes on the session that is kept, or a new one, and keeps it if it is still sound.
    async fn attempt(&self, kept: &mut Option<Session>, lanes: &[Lane]) -> Result<Vec<bool>, LinkError> {
        // Taken out, so that a session whose batch is cut short is not used again.
        let mut session = match kept.take().filter(Session::is_sound) {
            Some(session) => session,
            None => Session::open(self.link().await?).await?,
        };
        let taken = session.publish(lanes).await;
        *kept = Some(session).filter(Session::is_sound);
        Ok(taken)
    }

    async fn link(&self) -> Result<Arc<Link>, LinkError> {
        let mut link = self.0.link.clone();
        let link = timeout(LINK_TIMEOUT, link.wait_for(is_usable)).await.map_err(|_| LinkError::Absent)?;
        link.ok().and_then(|link| link.clone()).ok_or(LinkError::Stopped)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

/// A link may have ended before its supervisor notices.
fn is_usable(link: &Option<Arc<Link>>) -> bool {
    link.as_ref().is_some_and(|link| link.is_connected())
}

async fn supervise(
    uri: Result<AMQPUri, String>,
    sender: watch::Sender<Option<Arc<Link>>>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new();
    while !stop.is_cancelled() {
        let began = Instant::now();
        match connect(&uri, &stop).await {
            Ok(link) => {
                tracing::info!("publishing");
                let link = Arc::new(link);
                sender.send_replace(Some(link.clone()));
                link.ended(&stop).await;
                sender.send_replace(None);
                if stop.is_cancelled() {
                    link.close().await;
                } else {
                    tracing::warn!("lost the broker connection for publishing");
                }
            }
            Err(LinkError::Stopped) => return,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "failed to connect to the broker for publishing");
            }
        }
        backoff.pause(began, &stop).await;
    }
}

async fn connect(uri: &Result<AMQPUri, String>, stop: &CancellationToken) -> Result<Link, LinkError> {
    let uri = uri.clone().map_err(LinkError::Url)?;
    tokio::select! {
        link = Link::connect(uri, "darkroom publisher") => link,
        () = stop.cancelled() => Err(LinkError::Stopped),
    }
}
