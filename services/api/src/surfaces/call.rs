//! A request that submits a job and waits for it.

use std::time::Duration;

use axum::http::HeaderMap;
use darkroom_jobs::{JobId, TenantId};
use darkroom_store::Job;

use crate::Error;
use crate::auth::TenantKey;
use crate::intake::{IdempotencyKey, Intake, Received, Terms, trace_context};
use crate::jobs::{Jobs, Until};

/// The longest wait: Node's `fetch` gives up after 300 s without headers, the most impatient of the clients.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(290);

/// A request, but for its body.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) headers: HeaderMap,
    terms: Terms,
}

impl Call {
    pub(super) fn new(key: TenantKey, headers: &HeaderMap) -> Result<Self, Error> {
        let terms = Terms {
            key,
            idempotency_key: IdempotencyKey::from_headers(headers)?,
            traceparent: trace_context(headers),
        };
        Ok(Self { headers: headers.clone(), terms })
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.terms.key.tenant
    }

    /// Submits the job. Who goes away meanwhile loses the answer, not the job.
    pub(super) async fn submit(&self, intake: &Intake, received: Received) -> Result<Job, Error> {
        Ok(intake.accept(self.terms.clone(), received).await?.job)
    }

    /// The job as soon as it is final, or as it stands after the longest wait, or when the service stops.
    pub(super) async fn wait(&self, jobs: &Jobs, id: JobId) -> Result<Job, Error> {
        jobs.hold(self.tenant(), id, &Until::Final, LONGEST_WAIT).await
    }
}
