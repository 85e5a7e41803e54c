//! Taking jobs in: reading the body, storing the picture, checking, accepting.
//!
//! A picture is stored before its job is accepted and deleted again unless it is. The one case where neither
//! is known (the database did not answer) is looked into later, by a task of its own.

mod batch;
mod check;
mod data_uri;
mod document;
mod fetch;
mod file;
mod form;
mod idempotency;
mod named;
mod receive;
mod staged;
mod trace;
mod trial;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use darkroom_blobs::Blobs;
use darkroom_jobs::{Catalog, JobId, TenantId};
use darkroom_outbound::Outbound;
use darkroom_store::{Idempotency, Job, NewJob, Store};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::Error;
use crate::admission::Admission;
use crate::auth::TenantKey;
use crate::deadline::bounded;
use crate::mint::Mint;
use crate::shares::Shares;
pub(crate) use batch::BatchItem;
use document::Places;
pub(crate) use file::Kept;
pub(crate) use form::{FormRules, Others, is_form};
use idempotency::IdempotencyKey;
use idempotency::request_hash;
use named::no_such_file;
pub(crate) use receive::{MAX_REQUEST_BYTES, Origin, Received, media_type};
use staged::Staged;
use trace::trace_context;
pub(crate) use trial::{Picture, Trial};

/// Uploads that are read at once; the rest wait unread.
const UPLOADS: usize = 16;
/// Pictures that are fetched at once, half of them for one tenant.
const FETCHES: usize = 16;
/// Looks at the database after it did not answer, and the pause before each. A statement that was sent is
/// over after less than one pause, one way or the other.
const LOOKS: u32 = 10;
const LOOK_PAUSE: Duration = Duration::from_secs(6);

/// The way in.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    store: Store,
    blobs: Blobs,
    catalog: Arc<Catalog>,
    mint: Mint,
    admission: Admission,
    outbound: Outbound,
    uploads: Arc<Semaphore>,
    documents: Places,
    fetches: Shares,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What an [`Intake`] works with.
#[derive(Debug)]
pub(crate) struct IntakeParts {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) mint: Mint,
    pub(crate) admission: Admission,
    pub(crate) outbound: Outbound,
    pub(crate) stop: CancellationToken,
}

/// Everything about a submission but its body.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) key: TenantKey,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    pub(crate) traceparent: Option<String>,
    /// What the submission is found by when it is repeated without a key.
    pub(crate) fingerprint: Option<[u8; 32]>,
}

impl Terms {
    /// Reads what the headers say.
    pub(crate) fn of(key: TenantKey, headers: &HeaderMap) -> Result<Self, Error> {
        let idempotency_key = IdempotencyKey::from_headers(headers)?;
        Ok(Self { key, idempotency_key, traceparent: trace_context(headers), fingerprint: None })
    }
}

/// A submission that has its job.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) job: Job,
    pub(crate) replayed: Option<Replayed>,
}

/// An earlier submission made the job.
#[derive(Debug)]
pub(crate) struct Replayed;

impl Intake {
    pub(crate) fn new(parts: IntakeParts) -> Self {
        let IntakeParts { store, blobs, catalog, mint, admission, outbound, stop } = parts;
        let uploads = Arc::new(Semaphore::new(UPLOADS));
        let fetches = Shares::new(FETCHES, FETCHES / 2);
        let tasks = TaskTracker::new();
        Self {
            store,
            blobs,
            catalog,
            mint,
            admission,
            outbound,
            uploads,
            documents: Places::default(),
            fetches,
            tasks,
            stop,
        }
    }

    /// What is served.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Does something that nobody waits for; the end of the service does.
    pub(crate) fn later(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task.in_current_span());
    }

    /// Does something to its end, also when the caller goes away meanwhile.
    pub(crate) async fn whole<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.tasks.spawn(task.in_current_span()).await.map_err(Error::internal)?
    }

    /// Waits, at most for `bound`, for the tasks that clean up behind refused requests.
    pub(crate) async fn settled(&self, bound: Duration) {
        self.tasks.close();
        if timeout(bound, self.tasks.wait()).await.is_err() {
            tracing::warn!("pictures of refused requests may be left in storage");
        }
    }

    /// Checks and accepts what was received. A caller that goes away meanwhile does not interrupt it.
    pub(crate) async fn accept(&self, terms: Terms, mut received: Received) -> Result<Accepted, Error> {
        if let Some(named) = received.named()? {
            // A repetition looks nowhere: what is there by now may be something else, or nothing.
            let key = terms.idempotency_key.as_ref().map(IdempotencyKey::as_str);
            let hash = request_hash(&received.document, None);
            if let Some(job) = self.replay(terms.key.tenant, key, &hash).await? {
                return Ok(Accepted { job, replayed: Some(Replayed) });
            }
            received.image = Some(self.obtain(terms.key.tenant, &received, named).await?);
        }
        let key = terms.key;
        let (new, staged) = self.check(terms, received)?;
        let intake = self.clone();
        self.whole(async move { intake.store_job(key, new, staged).await }).await
    }

    async fn store_job(
        &self,
        key: TenantKey,
        new: NewJob,
        staged: Option<Staged>,
    ) -> Result<Accepted, Error> {
        use darkroom_store::Accepted as Outcome;
        if let Some(refusal) = self.admission.refusal(&key, std::slice::from_ref(&new)).await {
            // What was accepted before is answered, however much waits now.
            return match self.replay(new.tenant, new.idempotency_key.as_deref(), &new.request_hash).await? {
                Some(job) => Ok(Accepted { job, replayed: Some(Replayed) }),
                None => Err(refusal.into()),
            };
        }
        match bounded(self.store.accept(&new)).await {
            Ok(Outcome::Created(job)) => {
                // First of all: from here on the picture belongs to a job that was accepted.
                if let Some(staged) = staged {
                    staged.keep();
                }
                darkroom_ops::crash_point("api.accepted");
                self.admission.accepted(&new).await;
                Ok(Accepted { job: *job, replayed: None })
            }
            Ok(Outcome::Replayed(job)) => Ok(Accepted { job: *job, replayed: Some(Replayed) }),
            Ok(Outcome::KeyReused) => Err(Error::KeyReused),
            Ok(Outcome::Deleted) => Err(Error::Deleted),
            Ok(Outcome::FileGone) => Err(no_such_file()),
            Err(error) => {
                if let Some(staged) = staged {
                    self.tasks.spawn(self.clone().look_later(new.tenant, new.id, staged).in_current_span());
                }
                Err(error)
            }
        }
    }

    /// The job of an earlier submission with the same key.
    async fn replay(
        &self,
        tenant: TenantId,
        key: Option<&str>,
        request_hash: &[u8; 32],
    ) -> Result<Option<Job>, Error> {
        use darkroom_store::Accepted as Outcome;
        let Some(key) = key else { return Ok(None) };
        match bounded(self.store.replay(tenant, Idempotency { key, request_hash })).await? {
            Some(Outcome::Created(job) | Outcome::Replayed(job)) => Ok(Some(*job)),
            Some(Outcome::KeyReused) => Err(Error::KeyReused),
            Some(Outcome::Deleted) => Err(Error::Deleted),
            Some(Outcome::FileGone) | None => Ok(None),
        }
    }

    /// Finds out whether a job was accepted whose database did not answer.
    async fn look_later(self, tenant: TenantId, id: JobId, staged: Staged) {
        for _ in 0..LOOKS {
            tokio::select! {
                () = sleep(LOOK_PAUSE) => {}
                () = self.stop.cancelled() => break,
            }
            match bounded(self.store.job(tenant, id)).await {
                Ok(Some(_)) => return staged.keep(),
                Ok(None) => return drop(staged),
                Err(error) => tracing::debug!(%error, job = %id, "failed to look for a job"),
            }
        }
        tracing::warn!(job = %id, "a picture may be left in storage");
        staged.keep();
    }
}
