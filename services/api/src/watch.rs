//! Waiting for jobs to change: one LISTEN and one query a second, however many requests wait.
//!
//! Notifications say that a job changed and may be lost, so every second the versions of all watched jobs are
//! asked for as well. A waiter leaves nothing behind when it is dropped, and there are never more waiters than
//! connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use darkroom_jobs::JobId;
use darkroom_store::{Change, Changes, JobVersion, Preview, Store};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::deadline::bounded;

/// How late a change is seen whose notification was lost. Also the pause before the database is asked again
/// after a failure.
const POLL_PERIOD: Duration = Duration::from_secs(1);
/// How often is said that somebody looks on at a job: of what counts for [`Store::WATCHED_FOR`], two may be lost.
const SAY_PERIOD: Duration = Duration::from_secs(3);

/// What is known of a watched job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing has been heard since the watch began.
    Nothing,
    /// Its version.
    Version(JobVersion),
    /// It is deleted.
    Gone,
}

impl Seen {
    /// Takes what is newer; two queries may be answered out of order.
    fn advance(&mut self, new: Self) -> bool {
        let newer = match (*self, new) {
            (Self::Gone, _) | (_, Self::Nothing) => false,
            (Self::Nothing, _) | (_, Self::Gone) => true,
            (Self::Version(old), Self::Version(new)) => {
                new.version > old.version || new.version == old.version && new.progress != old.progress
            }
        };
        if newer {
            *self = new;
        }
        newer
    }
}

/// The watched jobs. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    jobs: Arc<Mutex<HashMap<JobId, Watched>>>,
    /// The latest preview of each job that somebody wants previews of.
    previews: Arc<Mutex<HashMap<JobId, Shown>>>,
}

#[derive(Debug)]
struct Shown {
    latest: watch::Sender<Option<Arc<Preview>>>,
    viewers: usize,
    /// When it was last said that somebody looks on.
    said: Option<Instant>,
}

/// One who looks on.
#[derive(Debug)]
pub(crate) struct Viewing {
    watch: Watch,
    id: JobId,
    latest: watch::Receiver<Option<Arc<Preview>>>,
}

#[derive(Debug)]
struct Watched {
    seen: watch::Sender<Seen>,
    waiters: usize,
}

/// One waiter.
#[derive(Debug)]
pub(crate) struct Watching {
    watch: Watch,
    id: JobId,
    seen: watch::Receiver<Seen>,
}

impl Watch {
    /// Begins to watch a job. Read the job after this: what changes from then on is heard of.
    pub(crate) fn begin(&self, id: JobId) -> Watching {
        let mut jobs = self.lock();
        let watched =
            jobs.entry(id).or_insert_with(|| Watched { seen: watch::Sender::new(Seen::Nothing), waiters: 0 });
        watched.waiters += 1;
        metrics::gauge!("darkroom_waiters").increment(1);
        Watching { watch: self.clone(), id, seen: watched.seen.subscribe() }
    }

    /// Begins to look on at a job: from now on a worker that runs it makes previews.
    pub(crate) fn view(&self, id: JobId) -> Viewing {
        let mut previews = lock(&self.previews);
        let nothing = || Shown { latest: watch::Sender::new(None), viewers: 0, said: None };
        let shown = previews.entry(id).or_insert_with(nothing);
        shown.viewers += 1;
        Viewing { watch: self.clone(), id, latest: shown.latest.subscribe() }
    }

    /// Feeds the waiters until `stop`. Each service runs this once.
    pub async fn run(&self, store: &Store, stop: &CancellationToken) {
        tokio::join!(self.listen(store, stop), self.poll(store, stop));
    }

    /// Says who is looked on at, and fetches what there is to see.
    async fn show(&self, store: &Store) {
        let ids: Vec<JobId> = lock(&self.previews).keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let shown = async {
            self.say_watched(store).await?;
            bounded(store.previews(&ids)).await
        };
        match shown.await {
            Ok(found) => {
                let previews = lock(&self.previews);
                for preview in found {
                    let Some(shown) = previews.get(&preview.job) else { continue };
                    let preview = Arc::new(preview);
                    shown.latest.send_if_modified(|latest| {
                        let newer = latest.as_ref().is_none_or(|old| old.made_at < preview.made_at);
                        if newer {
                            *latest = Some(preview.clone());
                        }
                        newer
                    });
                }
            }
            Err(error) => tracing::debug!(%error, "failed to fetch previews"),
        }
    }

    /// Says of which jobs somebody wants previews, where that was not said lately.
    async fn say_watched(&self, store: &Store) -> Result<(), Error> {
        let now = Instant::now();
        let due = |shown: &Shown| shown.said.is_none_or(|said| now - said >= SAY_PERIOD);
        let ids: Vec<JobId> =
            lock(&self.previews).iter().filter(|(_, shown)| due(shown)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        bounded(store.watch_jobs(&ids)).await?;
        let mut previews = lock(&self.previews);
        for id in &ids {
            previews.entry(*id).and_modify(|shown| shown.said = Some(now));
        }
        Ok(())
    }

    async fn listen(&self, store: &Store, stop: &CancellationToken) {
        let listening = async {
            loop {
                match store.changes().await {
                    Ok(changes) => self.follow(store, changes).await,
                    Err(error) => tracing::warn!(%error, "failed to listen for changes; polling"),
                }
                sleep(POLL_PERIOD).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = listening => {}
        }
    }

    /// Returns when the database is gone.
    async fn follow(&self, store: &Store, mut changes: Changes) {
        loop {
            match changes.next().await {
                Ok(Change::Jobs(ids)) => self.refresh(store, self.watched(&ids)).await,
                Ok(Change::Outbox) => {}
                Ok(Change::Unknown) => self.refresh(store, self.all()).await,
                Err(error) => return tracing::warn!(%error, "stopped hearing of changes; polling"),
            }
        }
    }

    async fn poll(&self, store: &Store, stop: &CancellationToken) {
        let mut ticks = interval(POLL_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = async { tokio::join!(self.refresh(store, self.all()), self.show(store)) } => {}
            }
        }
    }

    async fn refresh(&self, store: &Store, ids: Vec<JobId>) {
        if ids.is_empty() {
            return;
        }
        match bounded(store.job_versions(&ids)).await {
            Ok(versions) => self.publish(&ids, &versions),
            Err(error) => tracing::debug!(%error, "failed to read versions of watched jobs"),
        }
    }

    fn publish(&self, ids: &[JobId], versions: &[JobVersion]) {
        let found: HashMap<JobId, &JobVersion> =
            versions.iter().map(|version| (version.id, version)).collect();
        let jobs = self.lock();
        for id in ids {
            let Some(watched) = jobs.get(id) else { continue };
            let new = found.get(id).map_or(Seen::Gone, |version| Seen::Version(**version));
            watched.seen.send_if_modified(|seen| seen.advance(new));
        }
    }

    /// How many jobs are waited for.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn watched(&self, ids: &[JobId]) -> Vec<JobId> {
        let jobs = self.lock();
        ids.iter().copied().filter(|id| jobs.contains_key(id)).collect()
    }

    fn all(&self) -> Vec<JobId> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Watched>> {
        lock(&self.jobs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Viewing {
    /// The next preview that was not seen. Never returns where none comes any more.
    pub(crate) async fn next(&mut self) -> Arc<Preview> {
        loop {
            // Fails only once the sender is dropped, which outlives its viewers.
            if self.latest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(preview) = self.latest.borrow_and_update().clone() {
                return preview;
            }
        }
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        let mut previews = lock(&self.watch.previews);
        if let Some(shown) = previews.get_mut(&self.id) {
            shown.viewers -= 1;
            if shown.viewers == 0 {
                previews.remove(&self.id);
            }
        }
    }
}

impl Watching {
    /// Waits until the job is gone or `enough` says so of its version.
    pub(crate) async fn until(&mut self, enough: impl Fn(JobVersion) -> bool) {
        let met = |seen: &Seen| match seen {
            Seen::Nothing => false,
            Seen::Version(version) => enough(*version),
            Seen::Gone => true,
        };
        // Fails only once the sender is dropped, which outlives its waiters.
        let _ = self.seen.wait_for(met).await;
    }

    /// What is known by now; `None` while that is nothing, and of a job that is gone.
    pub(crate) fn latest(&self) -> Option<JobVersion> {
        match *self.seen.borrow() {
            Seen::Version(version) => Some(version),
            Seen::Nothing | Seen::Gone => None,
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut jobs = self.watch.lock();
        if let Some(watched) = jobs.get_mut(&self.id) {
            watched.waiters -= 1;
            if watched.waiters == 0 {
                jobs.remove(&self.id);
            }
        }
        metrics::gauge!("darkroom_waiters").decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::JobState;
    use uuid::Uuid;

    use super::*;

    fn version(id: JobId, version: i32) -> JobVersion {
        JobVersion { id, version, state: JobState::Running, progress: None }
    }

    #[tokio::test]
    async fn every_waiter_of_a_job_hears_of_it() {
        let watch = Watch::default();
        let [one, other] = [1, 2].map(|n| JobId::from_uuid(Uuid::from_u128(n)));
        let mut first = watch.begin(one);
        let mut second = watch.begin(one);
        let third = watch.begin(other);
        watch.publish(&[one], &[version(one, 2)]);
        first.until(|version| version.version == 2).await;
        second.until(|version| version.version >= 2).await;
        assert!(!third.seen.has_changed().unwrap());
        watch.publish(&[other], &[]);
        watch.publish(&[other], &[version(other, 9)]);
        assert_eq!(*third.seen.borrow(), Seen::Gone);
    }

    #[test]
    fn answers_out_of_order_take_nothing_back() {
        let watch = Watch::default();
        let id = JobId::from_uuid(Uuid::from_u128(1));
        let watching = watch.begin(id);
        watch.publish(&[id], &[version(id, 3)]);
        watch.publish(&[id], &[version(id, 2)]);
        assert_eq!(*watching.seen.borrow(), Seen::Version(version(id, 3)));
    }

    #[test]
    fn dropped_waiters_leave_nothing_behind() {
        let watch = Watch::default();
        let id = JobId::from_uuid(Uuid::from_u128(1));
        let (first, second) = (watch.begin(id), watch.begin(id));
        drop(first);
        assert_eq!(watch.watched(&[id]), [id]);
        drop(second);
        assert_eq!(watch.all(), []);
    }
}
