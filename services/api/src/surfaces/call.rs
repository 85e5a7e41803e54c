//! A request that submits a job and waits for it.

use std::time::Duration;

use axum::http::HeaderMap;
use darkroom_jobs::{JobId, TenantId};
use darkroom_store::{Job, Repeated};

use super::answering::Answering;
use crate::Error;
use crate::auth::TenantKey;
use crate::deadline::bounded;
use crate::intake::{Intake, Received, Terms};
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
        Ok(Self { headers: headers.clone(), terms: Terms::of(key, headers)? })
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.terms.key.tenant
    }

    /// Submits the job. Who goes away meanwhile loses the answer, not the job.
    pub(super) async fn submit(&self, intake: &Intake, received: Received) -> Result<Job, Error> {
        Ok(intake.accept(self.terms.clone(), received).await?.job)
    }

    /// Submits the job, unless the caller repeats a submission whose answer was not sent: then it is that one's job.
    pub(super) async fn submit_once(
        &self,
        intake: &Intake,
        jobs: &Jobs,
        received: Received,
        repeated: Option<Repeated>,
    ) -> Result<(Job, Answering), Error> {
        // With a key of its own a repetition needs no guess.
        if self.terms.idempotency_key.is_some() {
            return Ok((self.submit(intake, received).await?, Answering::to_nobody(intake.clone())));
        }
        let fingerprint = received.fingerprint(&self.terms.key);
        let store = intake.store();
        let before = match repeated {
            Some(repeated) => bounded(store.unanswered(self.tenant(), &fingerprint, repeated)).await?,
            None => None,
        };
        if let Some(id) = before {
            tracing::info!(job = %id, "a submission that was not answered is repeated");
            return Ok((jobs.find(self.tenant(), id).await?, Answering::new(intake.clone(), id)));
        }
        let terms = Terms { fingerprint: Some(fingerprint), ..self.terms.clone() };
        // A caller that goes away in the middle is one whose repetition has to find the job.
        let accepting = intake.clone();
        let accepted = async move {
            let job = accepting.accept(terms, received).await?.job;
            let answering = Answering::new(accepting, job.id);
            Ok((job, answering))
        };
        intake.whole(accepted).await
    }

    /// The job as soon as it is final, or as it stands after the longest wait, or when the service stops.
    pub(super) async fn wait(&self, jobs: &Jobs, id: JobId) -> Result<Job, Error> {
        jobs.hold(self.tenant(), id, &Until::Final, LONGEST_WAIT).await
    }
}
