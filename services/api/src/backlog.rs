//! What waits and what runs, a second old at most: one query a second, however many requests ask, and none while
//! nobody does.

use std::sync::Arc;
use std::time::Duration;

use darkroom_store::{Backlog, NewJob, Store};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How old an answer may be.
const MAX_AGE: Duration = Duration::from_secs(1);
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
}

#[derive(Debug, Default)]
struct Latest {
    /// The last answer, and when it was asked for.
    backlog: Option<(Arc<Backlog>, Instant)>,
    /// Not asked for again before.
    until: Option<Instant>,
}

impl Backlogs {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, latest: Arc::default() }
    }

    /// The latest one; `None` when the database has not told for a while. Whoever comes while it is asked for waits
    /// for the same answer.
    pub(crate) async fn latest(&self) -> Option<Arc<Backlog>> {
        let mut latest = self.latest.lock().await;
        let asked = Instant::now();
        if latest.until.is_none_or(|until| until <= asked) {
            if let Some(backlog) = self.read().await {
                latest.backlog = Some((Arc::new(backlog), asked));
            }
            latest.until = Some(Instant::now() + MAX_AGE.max(asked.elapsed() * REST));
        }
        let (backlog, read) = latest.backlog.as_ref()?;
        (read.elapsed() < MAX_STALE).then(|| backlog.clone())
    }

    async fn read(&self) -> Option<Backlog> {
        match timeout(TIMEOUT, self.store.backlog()).await {
            Ok(Ok(backlog)) => return Some(backlog),
            Ok(Err(error)) => tracing::debug!(%error, "failed to read the backlog"),
            Err(_) => tracing::debug!("the backlog took too long to read"),
        }
        None
    }

    /// Counts a job that was just accepted here, so that a burst within a second is seen as well.
    pub(crate) async fn add(&self, job: &NewJob) {
        if let Some((backlog, _)) = &mut self.latest.lock().await.backlog {
            Arc::make_mut(backlog).add(job);
        }
    }
}
