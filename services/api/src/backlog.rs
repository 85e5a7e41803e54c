//! What waits and what runs: one query a second, however many requests ask, and none while nobody does. Where the last
//! answer is hardly older than that, nobody waits for the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use darkroom_store::{Backlog, NewJob, Store};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

/// How often the database is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// An answer that is older than this is waited for.
const MAX_AGE: Duration = Duration::from_secs(2);
/// An answer is kept for at least so many times as long as it took, so that a queue that is too long for its
/// database does not become the database's only business.
const REST: u32 = 10;
/// Longer than this nobody waits for one. It is not worth more.
const TIMEOUT: Duration = Duration::from_secs(1);
/// For so long the last answer serves while the database gives no new one: a database that is too busy to count is
/// no reason to accept whatever comes.
const MAX_STALE: Duration = Duration::from_secs(15);

/// The backlog as this process knows it. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Backlogs {
    store: Store,
    latest: Arc<Mutex<Latest>>,
    /// Held by the one who asks the database; never together with `latest` while it is asked.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Latest {
    /// The last answer, and when it was asked for.
    backlog: Option<(Arc<Backlog>, Instant)>,
    /// Not asked for again before.
    until: Option<Instant>,
}

impl Latest {
    fn is_due(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    fn is_fresh(&self) -> bool {
        self.backlog.as_ref().is_some_and(|(_, asked)| asked.elapsed() < MAX_AGE)
    }
}

impl Backlogs {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, latest: Arc::default(), asking: Arc::default() }
    }

    /// The latest one; `None` when the database has not told for a while. Whoever has to wait for it waits for the same
    /// answer as all the others.
    pub(crate) async fn latest(&self) -> Option<Arc<Backlog>> {
        if self.lock().is_due() {
            if !self.lock().is_fresh() {
                self.ask(self.asking.clone().lock_owned().await).await;
            } else if let Ok(turn) = self.asking.clone().try_lock_owned() {
                let backlogs = self.clone();
                tokio::spawn(async move { backlogs.ask(turn).await });
            }
        }
        let latest = self.lock();
        let (backlog, read) = latest.backlog.as_ref()?;
        (read.elapsed() < MAX_STALE).then(|| backlog.clone())
    }

    async fn ask(&self, _turn: OwnedMutexGuard<()>) {
        // Somebody else may have asked meanwhile.
        if !self.lock().is_due() {
            return;
        }
        let asked = Instant::now();
        let backlog = self.read().await;
        let mut latest = self.lock();
        if let Some(backlog) = backlog {
            latest.backlog = Some((Arc::new(backlog), asked));
        }
        latest.until = Some(Instant::now() + PERIOD.max(asked.elapsed() * REST));
    }

    async fn read(&self) -> Option<Backlog> {
        match timeout(TIMEOUT, self.store.backlog()).await {
            Ok(Ok(backlog)) => return Some(backlog),
            Ok(Err(error)) => tracing::debug!(%error, "failed to read the backlog"),
            Err(_) => tracing::debug!("the backlog took too long to read"),
        }
        None
    }

    /// Counts a job that was just accepted here, so that a burst within a second is seen as well. Waits for no
    /// database: what is accepted while the next answer is on its way is in that answer, or in the one after it.
    pub(crate) fn add(&self, job: &NewJob) {
        if let Some((backlog, _)) = &mut self.lock().backlog {
            Arc::make_mut(backlog).add(job);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
