//! Jobs that a call asks for.

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use darkroom_client::{CaptionRequest, Client, DryRun, Job, JobOptions, JobWebhook, TextToImageRequest};
use serde_json::Value;
use uuid::Uuid;

use crate::image::{Image, read_image};
use crate::show::{clip, plain};

/// A job to follow: one that is still to be submitted, or one that is there.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Picture(Box<TextToImageRequest>),
    Caption { image: Image, request: Box<CaptionRequest> },
    Document { document: Value, key: Option<String> },
    Known(Uuid),
}

impl Wanted {
    /// A description of `image`, as `request` says for all of them.
    pub(crate) fn caption(image: Image, request: &CaptionRequest) -> Self {
        let mut request = Box::new(request.clone());
        match &image {
            Image::Path(_) => {}
            Image::Url(url) => request.image_url = Some(url.clone()),
            Image::Sent(id) => request.image_file = Some(*id),
        }
        Self::Caption { image, request }
    }

    /// What to call it before it has an id: a few words on one line.
    pub(crate) fn label(&self) -> String {
        const CHARS: usize = 60;
        let text = match self {
            Self::Picture(request) if request.prompt.trim().is_empty() => "the empty prompt".to_owned(),
            Self::Picture(request) => request.prompt.clone(),
            Self::Caption { image, .. } => image.to_string(),
            Self::Document { document, .. } => {
                document["input"]["prompt"].as_str().unwrap_or("the document").to_owned()
            }
            Self::Known(id) => id.to_string(),
        };
        clip(&plain(&text), CHARS)
    }

    /// Submits it, or looks it up.
    pub(crate) async fn submit(&self, client: &Client) -> anyhow::Result<Job> {
        let job = match self {
            Self::Picture(request) => client.submit_text_to_image(request).await?,
            Self::Caption { image: Image::Path(file), request } => {
                let (bytes, name) = read_image(file).await?;
                client.caption(bytes, &name, request).await?
            }
            Self::Caption { request, .. } => client.submit_caption(request).await?,
            Self::Document { document, key } => client.submit(document, key.as_deref()).await?,
            Self::Known(id) => client.job(*id).await?,
        };
        Ok(job)
    }

    /// Has the service check it, and no more.
    pub(crate) async fn try_out(&self, client: &Client) -> anyhow::Result<DryRun> {
        let tried = match self {
            Self::Picture(request) => client.dry_run(&request.to_document()).await?,
            Self::Caption { image: Image::Path(file), request } => {
                let (bytes, name) = read_image(file).await?;
                client.dry_run_with_image(&request.to_document(), bytes, &name).await?
            }
            Self::Caption { request, .. } => client.dry_run(&request.to_document()).await?,
            Self::Document { document, .. } => client.dry_run(document).await?,
            Self::Known(id) => bail!("job {id} is there already"),
        };
        Ok(tried)
    }
}

/// Whether `-` was given for a file.
pub(crate) fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Everything that is on stdin.
pub(crate) async fn read_stdin() -> anyhow::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    tokio::io::stdin().read_to_end(&mut bytes).await.context("failed to read the input")?;
    Ok(bytes)
}

/// Parameters of pictures. What is left out is the model's default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct PictureOptions {
    /// Pictures to make from each prompt
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) images: Option<u32>,

    /// Seed of the first picture; the next ones use the numbers that follow
    #[arg(long)]
    seed: Option<u64>,

    /// Width in pixels, a multiple of 8
    #[arg(long, value_name = "PIXELS")]
    width: Option<u32>,

    /// Height in pixels, a multiple of 8
    #[arg(long, value_name = "PIXELS")]
    height: Option<u32>,

    /// Denoising steps
    #[arg(long)]
    steps: Option<u32>,

    /// Weight of classifier-free guidance
    #[arg(long, value_name = "SCALE", value_parser = parse_scale)]
    guidance: Option<f64>,

    /// What the pictures should not show
    #[arg(long, value_name = "TEXT")]
    negative_prompt: Option<String>,

    /// Scheduler to use instead of the model's own: ddim, pndm, euler, euler_ancestral, dpmpp_2m,
    /// dpmpp_2m_karras, lcm, unipc or flow_match_euler
    #[arg(long)]
    scheduler: Option<String>,

    /// LoRA to merge into the model, and how strongly; can be given several times
    #[arg(long, value_name = "ID=STRENGTH", value_parser = parse_lora)]
    lora: Vec<(String, f64)>,

    /// Leave out the safety checker
    #[arg(long)]
    no_safety_check: bool,

    /// png, jpeg or webp; unless given, what the file to save to is called after
    #[arg(long)]
    pub(crate) format: Option<String>,

    /// Quality of a JPEG or WebP, 1 to 100
    #[arg(long)]
    quality: Option<u8>,

    /// Leave prompt, seed and settings out of the files
    #[arg(long)]
    no_parameters: bool,
}

impl PictureOptions {
    /// The request for pictures of `prompt`.
    pub(crate) fn request(
        &self,
        prompt: &str,
        model: Option<&String>,
        options: &JobOptions,
    ) -> TextToImageRequest {
        TextToImageRequest {
            model: model.cloned(),
            options: options.clone(),
            prompt: prompt.to_owned(),
            negative_prompt: self.negative_prompt.clone(),
            width: self.width,
            height: self.height,
            steps: self.steps,
            guidance_scale: self.guidance,
            seed: self.seed,
            images: self.images,
            scheduler: self.scheduler.clone(),
            loras: self.lora.iter().cloned().collect(),
            safety_check: self.no_safety_check.then_some(false),
            output_format: self.format.clone(),
            output_quality: self.quality,
            embed_parameters: self.no_parameters.then_some(false),
        }
    }
}

/// What can be said of every job.
#[derive(Debug, Args)]
#[command(next_help_heading = "Jobs")]
pub(crate) struct QueueOptions {
    /// Model to use; see `darkroom models`
    #[arg(long)]
    pub(crate) model: Option<String>,

    /// interactive, normal or background
    #[arg(long)]
    priority: Option<String>,

    /// Let a job expire that is not finished by then
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,

    /// Keep the job and its results for so long
    #[arg(long, value_name = "SECONDS")]
    retention: Option<u64>,

    /// A label of your own, stored with the job; can be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_label)]
    metadata: Vec<(String, String)>,

    /// URL that is told how a job ends
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,

    /// Event to tell it: job.succeeded, job.failed, job.canceled or job.expired; give it once for each, or not at
    /// all for all of them
    #[arg(long, value_name = "EVENT", requires = "webhook")]
    webhook_event: Vec<String>,

    /// Submit nothing: have everything checked, and print what it would cost and how long it would wait
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl QueueOptions {
    /// The same in the words of the API.
    pub(crate) fn job_options(&self) -> JobOptions {
        JobOptions {
            idempotency_key: None,
            priority: self.priority.clone(),
            deadline_seconds: self.deadline,
            retention_seconds: self.retention,
            metadata: self.metadata.iter().cloned().collect(),
            webhook: self.webhook.clone().map(|url| JobWebhook { url, events: self.webhook_event.clone() }),
        }
    }
}

/// JSON has no word for the others, and leaves them out.
fn parse_scale(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|scale: &f64| scale.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

fn parse_lora(text: &str) -> Result<(String, f64), String> {
    let (id, strength) = text.rsplit_once('=').ok_or("expected the id of a LoRA, `=` and a strength")?;
    Ok((id.to_owned(), parse_scale(strength)?))
}

pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    let label = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = label.ok_or("expected a name, `=` and a value")?;
    Ok((name.to_owned(), value.to_owned()))
}
