//! `darkroom submit`.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use darkroom_client::CaptionRequest;
use futures_util::StreamExt as _;
use serde_json::Value;
use uuid::Uuid;

use super::generate::read_prompts;
use crate::dry_run::try_out;
use crate::failure::Outcome;
use crate::image::{Image, check_images};
use crate::session::Session;
use crate::wanted::{PictureOptions, QueueOptions, Wanted, is_stdin, read_stdin};

/// Submissions at once.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// What the pictures should show; each prompt is a job of its own. `-` reads prompts from the input, one a line
    #[arg(value_name = "PROMPT", required_unless_present_any = ["image", "file", "document"])]
    prompts: Vec<String>,

    /// Picture to be described instead, or its URL; can be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompts", "document"])]
    image: Vec<PathBuf>,

    /// Id of a picture that was sent with `darkroom files add`, to be described instead; can be given several times
    #[arg(long, value_name = "ID", conflicts_with_all = ["prompts", "document"])]
    file: Vec<Uuid>,

    /// JSON document to submit as it is, as `POST /v1/jobs` takes it; `-` reads it from the input
    #[arg(long, value_name = "FILE", conflicts_with = "prompts")]
    document: Option<PathBuf>,

    /// Key under which a repeated submission finds the first one's job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    #[command(flatten)]
    picture: PictureOptions,

    #[command(flatten)]
    queue: QueueOptions,
}

impl Submit {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let dry_run = self.queue.dry_run;
        let wanted = self.wanted().await?;
        if dry_run {
            return try_out(session, &wanted).await;
        }
        let submitting = wanted
            .iter()
            .map(|wanted| async { wanted.submit(&session.client).await.with_context(|| wanted.label()) });
        let mut submitted = futures_util::stream::iter(submitting).buffered(AT_ONCE);
        while let Some(job) = submitted.next().await {
            let job = job?;
            session.print(|| job.id.to_string(), &job)?;
        }
        Ok(Outcome::Done)
    }

    async fn wanted(self) -> anyhow::Result<Vec<Wanted>> {
        let mut options = self.queue.job_options();
        options.idempotency_key.clone_from(&self.idempotency_key);
        let wanted: Vec<Wanted> = if let Some(file) = &self.document {
            vec![Wanted::Document { document: read_document(file).await?, key: self.idempotency_key.clone() }]
        } else if self.image.is_empty() && self.file.is_empty() {
            let prompts = read_prompts(self.prompts).await?;
            let request = |prompt| self.picture.request(prompt, self.queue.model.as_ref(), &options);
            prompts.iter().map(|prompt| Wanted::Picture(Box::new(request(prompt)))).collect()
        } else {
            let images =
                self.image.into_iter().map(Image::given).chain(self.file.into_iter().map(Image::Sent));
            let images: Vec<Image> = images.collect();
            check_images(&images)?;
            let request = CaptionRequest { model: self.queue.model, options, ..CaptionRequest::default() };
            images.into_iter().map(|image| Wanted::caption(image, &request)).collect()
        };
        ensure!(
            wanted.len() == 1 || self.idempotency_key.is_none(),
            "`--idempotency-key` names one job, and {} are asked for",
            wanted.len()
        );
        Ok(wanted)
    }
}

async fn read_document(file: &PathBuf) -> anyhow::Result<Value> {
    let failed = || format!("failed to read {}", file.display());
    let bytes = match is_stdin(file) {
        true => read_stdin().await?,
        false => tokio::fs::read(file).await.with_context(failed)?,
    };
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON document", file.display()))
}
