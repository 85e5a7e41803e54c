//! Jobs: finding them, waiting for them, and the routes that show and change them.

pub(crate) mod cancel;
pub(crate) mod delete;
pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod follow;
pub(crate) mod list;
pub(crate) mod queue;
pub(crate) mod resend;
pub(crate) mod resource;
pub(crate) mod show;
pub(crate) mod submit;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use darkroom_jobs::{JobId, JobState, TenantId};
use darkroom_store::{Job, Store};
use tokio_util::sync::CancellationToken;

use crate::backlog::Backlogs;
use crate::deadline::bounded;
use crate::etag::{self, NoneMatch};
use crate::server::CONNECTIONS;
use crate::shares::Shares;
use crate::watch::Watch;
use crate::{Error, Links};

/// Most requests that are held for one tenant: half of the connections there are.
pub(crate) const MOST_HELD: usize = CONNECTIONS / 2;

/// The jobs in the store, as this service shows them.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    pub(crate) store: Store,
    pub(crate) links: Arc<Links>,
    pub(crate) backlogs: Backlogs,
    pub(crate) watch: Watch,
    /// Who waits.
    pub(crate) held: Shares,
    /// Ends every wait.
    pub(crate) stop: CancellationToken,
}

/// What a caller waits for.
#[derive(Debug, Clone)]
pub(crate) enum Until {
    /// A final state.
    Final,
    /// A version that the caller does not have, or a final state.
    Newer(NoneMatch),
    /// Another version than this one, or a final state.
    Beyond(i32),
}

impl Until {
    fn met(&self, version: i32, state: JobState) -> bool {
        let newer = match self {
            Self::Final => false,
            Self::Newer(have) => !have.matches(&etag::of_version(version)),
            Self::Beyond(known) => version != *known,
        };
        newer || state.is_final()
    }
}

impl Jobs {
    /// The tenant's job.
    pub(crate) async fn find(&self, tenant: TenantId, id: JobId) -> Result<Job, Error> {
        bounded(self.store.job(tenant, id)).await?.ok_or(Error::NotFound("job"))
    }

    /// The tenant's job, as soon as it is what the caller waits for, at the latest after `wait` or when the
    /// service is asked to stop; at once for a tenant that has as many requests held as it may.
    pub(crate) async fn hold(
        &self,
        tenant: TenantId,
        id: JobId,
        until: &Until,
        wait: Duration,
    ) -> Result<Job, Error> {
        let mut watching = self.watch.begin(id);
        let job = self.find(tenant, id).await?;
        if until.met(job.version, job.state) {
            return Ok(job);
        }
        let Some(_held) = self.held.free_place(tenant) else { return Ok(job) };
        tokio::select! {
            () = watching.until(|seen| until.met(seen.version, seen.state)) => {}
            () = tokio::time::sleep(wait) => {}
            () = self.stop.cancelled() => {}
        }
        self.find(tenant, id).await
    }

    /// A job that was just accepted, as soon as it is final, at the latest after `wait`. Where it cannot be read again it
    /// is told as it was accepted: its caller has to hear its id.
    pub(crate) async fn hold_accepted(&self, job: Job, wait: Duration) -> Job {
        match self.hold(job.tenant, job.id, &Until::Final, wait).await {
            Ok(held) => held,
            Err(error) => {
                tracing::debug!(%error, job = %job.id, "an accepted job cannot be waited for");
                job
            }
        }
    }
}

/// A job's id out of the path. What is no id is the id of nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobPath(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id: JobId = path.ok().and_then(|Path(id)| id.parse().ok()).ok_or(Error::NotFound("job"))?;
        tracing::Span::current().record("job", tracing::field::display(id));
        Ok(Self(id))
    }
}
