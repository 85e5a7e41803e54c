//! Results and warnings on their way out: encoded, stored, recorded, one after another, while the next is being made.

use std::sync::OnceLock;
use std::time::Duration;

use backon::Retryable;
use bytes::Bytes;
use darkroom_blobs::{Stored, artifact_key};
use darkroom_jobs::{ArtifactId, PictureFormat, Task, Warning};
use darkroom_models::{Output, Preview};
use darkroom_store::{LeasedJob, NewArtifact, NewPreview, Recorded};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::database::{self, bounded};
use crate::device::Said;
use crate::encode;
use crate::failure::Cause;
use crate::stages::{Stage, Stages};
use crate::worker::Worker;

/// Results that may wait beside the one that is being stored; then the device waits. A preview may take the
/// place of one.
pub(crate) const WAITING: usize = 2;
/// How long to try to record a result while the database is away.
const RECORD_BOUND: Duration = Duration::from_secs(60);

/// A result as it will be stored.
struct Encoded {
    index: u32,
    body: Bytes,
    content_type: &'static str,
    extension: &'static str,
    size: Option<(u32, u32)>,
    seed: Option<u64>,
    nsfw: bool,
    text: Option<String>,
}

/// The way out for the results of one attempt.
pub(crate) struct Results<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) leased: &'a LeasedJob,
    pub(crate) stages: &'a Stages,
    /// Where the last result goes once it is stored. It is recorded when the attempt is settled.
    pub(crate) last: &'a OnceLock<NewArtifact>,
}

impl Results<'_> {
    /// Stores results and warnings until the device has no more of them.
    pub(crate) async fn store_all(&self, mut said: mpsc::Receiver<Said>) -> Result<(), Cause> {
        while let Some(said) = said.recv().await {
            match said {
                Said::Output(output) => {
                    let encoded = self.stages.time(Stage::Encode, self.encode(output)).await?;
                    self.stages.time(Stage::Upload, self.store(encoded)).await?;
                }
                Said::Warning(warning) => self.warn(warning).await?,
                Said::Preview(preview) => self.show(preview).await,
            }
        }
        Ok(())
    }

    async fn warn(&self, warning: darkroom_models::Warning) -> Result<(), Cause> {
        let darkroom_models::Warning::PromptTruncated { encoder, dropped, limit } = warning;
        let warning = Warning::prompt_truncated(encoder, &dropped, limit);
        // The code alone: what was dropped is the caller's text.
        tracing::info!(code = warning.code, encoder, "the model warns");
        self.record(|| self.worker.store.record_warning(&self.leased.lease, &warning)).await
    }

    /// Keeps a preview for whoever looks on. Nothing depends on it.
    async fn show(&self, preview: Preview) {
        let Preview { index, step, picture } = preview;
        let encode = tokio::task::spawn_blocking(move || encode::preview(&picture));
        let Ok(Ok(content)) = encode.await else {
            return tracing::debug!("failed to encode a preview");
        };
        let preview = NewPreview { image: index, step, content };
        if let Err(error) = bounded(self.worker.store.keep_preview(self.leased.lease.job, &preview)).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "failed to keep a preview");
        }
    }

    async fn encode(&self, output: Output) -> Result<Encoded, Cause> {
        let (index, seed, image, nsfw) = match output {
            Output::Image { index, seed, image, nsfw } => (index, seed, image, nsfw),
            Output::Text(text) => return Ok(Encoded::caption(text)),
        };
        let (format, parameters) = self.form(seed);
        let size = image.dimensions();
        let encode =
            tokio::task::spawn_blocking(move || encode::encode(&image, format, parameters.as_deref()));
        let encoded = encode.await.map_err(|error| Cause::Encode(error.into()))?;
        let body = encoded.map_err(|error| Cause::Encode(error.into()))?.into();
        let (content_type, extension) = encode::file_type(format);
        Ok(Encoded {
            index,
            body,
            content_type,
            extension,
            size: Some(size),
            seed: Some(seed),
            nsfw,
            text: None,
        })
    }

    /// How a picture is written, and what goes into its file beside the pixels.
    fn form(&self, seed: u64) -> (PictureFormat, Option<String>) {
        match &self.leased.task {
            Task::TextToImage(task) => {
                let parameters = || encode::parameters(task, seed, self.leased.lane.model());
                (task.output.format, task.output.embed_parameters.then(parameters))
            }
            Task::ImageToText(_) => (PictureFormat::Png, None),
        }
    }

    async fn store(&self, encoded: Encoded) -> Result<(), Cause> {
        let lease = &self.leased.lease;
        let key = artifact_key(lease.job, lease.attempt, encoded.index, encoded.extension);
        let stored = self.worker.blobs.put(&key, encoded.body.clone(), encoded.content_type).await;
        let artifact = encoded.artifact(key, stored.map_err(Cause::Upload)?);
        darkroom_ops::crash_point("worker.uploaded");
        if self.is_last(artifact.index) && self.last.set(artifact.clone()).is_ok() {
            return Ok(());
        }
        self.record_artifact(&artifact).await
    }

    /// Whether every other result is recorded when this one is stored.
    fn is_last(&self, index: u32) -> bool {
        let missing = (0..self.leased.task.artifacts()).rfind(|index| !self.leased.done.contains(index));
        missing == Some(index)
    }

    /// Makes a stored result the job's.
    pub(crate) async fn record_artifact(&self, artifact: &NewArtifact) -> Result<(), Cause> {
        self.record(|| self.worker.store.record_artifact(&self.leased.lease, artifact)).await
    }

    /// Makes an entry under the lease, again and again while the database is away.
    async fn record<W>(&self, entry: impl Fn() -> W) -> Result<(), Cause>
    where
        W: Future<Output = Result<Recorded, darkroom_store::Error>>,
    {
        let record = (|| bounded(entry())).retry(database::delays()).when(database::Error::is_transient);
        let recorded = tokio::time::timeout(RECORD_BOUND, record).await;
        match recorded.unwrap_or(Err(database::Error::TimedOut)).map_err(Cause::Record)? {
            Recorded::Stored => Ok(()),
            // The object stays behind under this attempt's own key; the sweeper finds it.
            Recorded::LeaseGone => Err(Cause::LeaseGone),
        }
    }
}

impl Encoded {
    fn caption(text: String) -> Self {
        Self {
            index: 0,
            body: text.clone().into(),
            content_type: "text/plain; charset=utf-8",
            extension: "txt",
            size: None,
            seed: None,
            nsfw: false,
            text: Some(text),
        }
    }

    fn artifact(self, key: String, stored: Stored) -> NewArtifact {
        NewArtifact {
            id: ArtifactId::from_uuid(Uuid::now_v7()),
            index: self.index,
            key,
            content_type: self.content_type.to_owned(),
            size_bytes: stored.size_bytes,
            sha256: stored.sha256,
            width: self.size.map(|(width, _)| width),
            height: self.size.map(|(_, height)| height),
            seed: self.seed,
            nsfw: self.nsfw,
            text: self.text,
        }
    }
}
