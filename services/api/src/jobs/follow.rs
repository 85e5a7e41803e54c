//! A job's versions, its progress and its previews, one after the other.

use std::sync::Arc;

use darkroom_jobs::{JobId, TenantId};
use darkroom_store::{Job, JobVersion, Preview, Progress};
use futures_util::{Stream, StreamExt, future, stream};

use super::Jobs;
use crate::Error;
use crate::shares::Place;
use crate::watch::{Viewing, Watching};

/// What has changed.
#[derive(Debug)]
pub(crate) enum Update {
    /// There is another version.
    Job(Box<Job>),
    /// It is further than before.
    Progress(Progress),
    /// A picture in work looks like this.
    Preview(Arc<Preview>),
}

/// Whether pictures in work are told as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Previews {
    Shown,
    Hidden,
}

/// Somebody who is told.
struct Following {
    jobs: Jobs,
    tenant: TenantId,
    id: JobId,
    watching: Watching,
    viewing: Option<Viewing>,
    told: Option<Told>,
    _held: Place,
}

/// What they know.
#[derive(Clone, Copy)]
struct Told {
    version: i32,
    progress: Option<Progress>,
    end: bool,
}

impl Jobs {
    /// The job as it stands, and again whenever it has another version, and its progress in between; until it is
    /// final. It ends with an error when the job cannot be read, or the service stops. Versions that follow one another
    /// closely may be told as one.
    pub(crate) fn follow(
        &self,
        tenant: TenantId,
        id: JobId,
        previews: Previews,
    ) -> Result<impl Stream<Item = Result<Update, Error>> + Send + use<>, Error> {
        let held = self.held.free_place(tenant).ok_or(Error::TooManyHeld)?;
        let watching = self.watch.begin(id);
        let viewing = (previews == Previews::Shown).then(|| self.watch.view(id));
        let following =
            Following { jobs: self.clone(), tenant, id, watching, viewing, told: None, _held: held };
        Ok(stream::unfold(following, |mut following| async move {
            let update = following.next().await?;
            if update.is_err() {
                following.told = Some(Told { version: 0, progress: None, end: true });
            }
            Some((update, following))
        }))
    }

    /// Only the versions of [`Self::follow`].
    pub(crate) fn versions(
        &self,
        tenant: TenantId,
        id: JobId,
    ) -> Result<impl Stream<Item = Result<Job, Error>> + Send + use<>, Error> {
        let updates = self.follow(tenant, id, Previews::Hidden)?;
        Ok(updates.filter_map(|update| {
            future::ready(match update {
                Ok(Update::Job(job)) => Some(Ok(*job)),
                Ok(Update::Progress(_) | Update::Preview(_)) => None,
                Err(error) => Some(Err(error)),
            })
        }))
    }
}

impl Following {
    async fn next(&mut self) -> Option<Result<Update, Error>> {
        loop {
            let Some(told) = self.told else { return Some(self.read().await) };
            if told.end {
                return None;
            }
            // What was read may be ahead of what was seen, and progress is not told backwards.
            let further = |seen: JobVersion| reached(seen.progress) > reached(told.progress);
            let news = |seen: JobVersion| {
                seen.version > told.version || (seen.version == told.version && further(seen))
            };
            tokio::select! {
                () = self.watching.until(news) => {}
                preview = next(&mut self.viewing) => return Some(Ok(Update::Preview(preview))),
                () = self.jobs.stop.cancelled() => {
                    return Some(Err(Error::Unavailable("the service stops".into())));
                }
            }
            match self.watching.latest() {
                Some(JobVersion { version, progress: Some(progress), .. }) if version == told.version => {
                    self.told = Some(Told { progress: Some(progress), ..told });
                    return Some(Ok(Update::Progress(progress)));
                }
                // It is read again: one that is gone is told as an error.
                _ => self.told = None,
            }
        }
    }

    async fn read(&mut self) -> Result<Update, Error> {
        let job = self.jobs.find(self.tenant, self.id).await?;
        self.told = Some(Told { version: job.version, progress: job.progress, end: job.state.is_final() });
        Ok(Update::Job(Box::new(job)))
    }
}

/// The next preview; never, for who does not look on.
async fn next(viewing: &mut Option<Viewing>) -> Arc<Preview> {
    match viewing {
        Some(viewing) => viewing.next().await,
        None => std::future::pending().await,
    }
}

/// How far an attempt is, in an order: nothing said, then picture by picture and step by step.
fn reached(progress: Option<Progress>) -> Option<(u32, u32)> {
    progress.map(|progress| (progress.image, progress.step))
}
