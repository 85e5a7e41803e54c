//! Telling other processes what was committed.
//!
//! NOTIFY takes a lock on the whole database at commit, so no transaction of ours contains one. Changes are
//! collected here, and one loop per process announces them in batches after the fact. An announcement may be
//! lost: whoever listens polls as well.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use darkroom_jobs::JobId;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::pool::{ACQUIRE_TIMEOUT, within};
use crate::{Error, Store};

const JOBS_CHANNEL: &str = "darkroom_jobs";
const OUTBOX_CHANNEL: &str = "darkroom_outbox";
/// The shortest time between two announcements; changes within it share one.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// After so much silence a listener asks whether the database is still there.
const QUIET: Duration = Duration::from_secs(10);
/// How long the database has to say so.
const PATIENCE: Duration = Duration::from_secs(3);
/// Ids in one announcement: a payload has room for 8,000 bytes, an id and its comma take 37.
const IDS_PER_NOTIFY: usize = 200;
/// More unannounced ids than this are dropped: listeners poll.
const MAX_PENDING: usize = 10_000;

/// Changes that were committed and not announced yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Tells announcements of this process from others'.
    origin: String,
    changed: Mutex<Changed>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Changed {
    jobs: BTreeSet<JobId>,
    outbox: bool,
}

impl Default for Pending {
    fn default() -> Self {
        let origin = format!("from-{}", Uuid::now_v7());
        Self { origin, changed: Mutex::default(), wake: Notify::default() }
    }
}

impl Pending {
    pub(crate) fn job(&self, id: JobId) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.jobs.len() < MAX_PENDING {
            changed.jobs.insert(id);
        }
        self.wake.notify_one();
    }

    pub(crate) fn outbox(&self) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).outbox = true;
        self.wake.notify_one();
    }

    fn take(&self) -> Changed {
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Something another process committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// State, artifacts or lease of these jobs.
    Jobs(Vec<JobId>),
    /// Rows were added to the outbox.
    Outbox,
    /// The connection was lost for a while: anything may have changed.
    Unknown,
}

/// Announcements from every process, or from every other one.
#[derive(Debug)]
pub struct Changes {
    listener: PgListener,
    /// Whose announcements are passed over.
    without: Option<String>,
}

impl Changes {
    /// The next announcement. Reconnects by itself.
    ///
    /// # Errors
    /// When the database is unavailable; listen anew after a pause.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            match timeout(QUIET, self.listener.try_recv()).await {
                Ok(received) => match received? {
                    Some(notification) if self.is_own(&notification) => {}
                    Some(notification) => return Ok(parse(&notification)),
                    None => return Ok(Change::Unknown),
                },
                // A connection that has gone silent looks like one on which nothing happens.
                Err(_) => {
                    within(PATIENCE, sqlx::query("select 1").execute(&mut self.listener)).await?;
                }
            }
        }
    }

    fn is_own(&self, notification: &PgNotification) -> bool {
        let origin = notification.payload().split(',').next();
        self.without.is_some() && origin == self.without.as_deref()
    }
}

fn parse(notification: &PgNotification) -> Change {
    if notification.channel() == OUTBOX_CHANNEL {
        return Change::Outbox;
    }
    // The first entry names the process that announces; earlier releases leave it out.
    Change::Jobs(notification.payload().split(',').filter_map(|id| id.parse().ok()).collect())
}

impl Store {
    /// Announces what this process commits, until canceled. Each service runs this once.
    pub async fn announce(&self, cancel: &CancellationToken) {
        loop {
            tokio::select! {
                () = self.pending.wake.notified() => {}
                () = cancel.cancelled() => return self.announce_pending().await,
            }
            // What comes after a quiet while is told at once, what comes right after that together.
            self.announce_pending().await;
            tokio::time::sleep(DEBOUNCE).await;
        }
    }

    async fn announce_pending(&self) {
        let changed = self.pending.take();
        let ids: Vec<JobId> = changed.jobs.into_iter().collect();
        let jobs = ids.chunks(IDS_PER_NOTIFY).map(|ids| {
            let mut payload = self.pending.origin.clone();
            ids.iter().for_each(|id| payload.extend([",", &id.to_string()]));
            (JOBS_CHANNEL, payload)
        });
        let outbox = changed.outbox.then(|| (OUTBOX_CHANNEL, self.pending.origin.clone()));
        let (channels, payloads): (Vec<String>, Vec<String>) =
            jobs.chain(outbox).map(|(channel, payload)| (channel.to_owned(), payload)).unzip();
        if channels.is_empty() {
            return;
        }
        let sent = sqlx::query!(
            r#"select count(pg_notify(channel, payload)) as "sent!"
               from unnest($1::text[], $2::text[]) as changes (channel, payload)"#,
            &channels,
            &payloads
        )
        .fetch_one(&self.pool)
        .await;
        if let Err(error) = sent {
            tracing::debug!(%error, "failed to announce changes; listeners poll");
        }
    }

    /// Starts listening to what any process commits, on a connection of its own.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn changes(&self) -> Result<Changes, Error> {
        self.listen(None).await
    }

    /// The same, but for what this process commits itself.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn changes_by_others(&self) -> Result<Changes, Error> {
        self.listen(Some(self.pending.origin.clone())).await
    }

    async fn listen(&self, without: Option<String>) -> Result<Changes, Error> {
        let one = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
        let pool = one.connect_lazy_with(self.pool.options().clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen_all([JOBS_CHANNEL, OUTBOX_CHANNEL]).await?;
        Ok(Changes { listener, without })
    }
}
