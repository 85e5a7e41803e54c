//! Whether an answer was sent, for callers who repeat themselves without a key.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use darkroom_jobs::JobId;
use futures_util::{StreamExt, stream};

use crate::deadline::bounded;
use crate::intake::Intake;

/// An answer that is still to be sent. Dropped before that, it leaves a note by which a repetition finds the job.
#[derive(Debug)]
pub(super) struct Answering {
    intake: Intake,
    /// `None` once it was sent, and where nobody asks.
    job: Option<JobId>,
}

impl Answering {
    pub(super) fn new(intake: Intake, job: JobId) -> Self {
        Self { intake, job: Some(job) }
    }

    /// The answer to a caller who repeats itself with a key.
    pub(super) fn to_nobody(intake: Intake) -> Self {
        Self { intake, job: None }
    }

    /// The response, which tells when all of it was handed to the connection.
    pub(super) fn watch(self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        // With its length known, nobody asks whether a body goes on.
        parts.headers.remove(CONTENT_LENGTH);
        let sent = stream::once(async move { self.sent() });
        let sent = sent.filter_map(|()| std::future::ready(None::<Result<Bytes, axum::Error>>));
        Response::from_parts(parts, Body::from_stream(body.into_data_stream().chain(sent)))
    }

    fn sent(mut self) {
        let Some(job) = self.job.take() else { return };
        let store = self.intake.store().clone();
        self.intake.later(async move {
            if let Err(error) = bounded(store.answered(job)).await {
                tracing::debug!(%error, %job, "failed to note that a job was answered");
            }
        });
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        let store = self.intake.store().clone();
        self.intake.later(async move {
            if let Err(error) = bounded(store.abandoned(job)).await {
                tracing::debug!(%error, %job, "failed to note that a job was not answered");
            }
        });
    }
}
