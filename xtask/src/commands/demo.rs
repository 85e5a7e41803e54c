//! `cargo xtask demo`: a picture from words, then words from that picture.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, Utc};
use darkroom_client::{Artifact, CaptionRequest, Client, Job, JobState, TextToImageRequest};
use sha2::{Digest as _, Sha256};

use super::up;
use crate::interrupt::Interrupt;
use crate::progress::{Step, note};
use crate::stack::{environment, files};

const PROMPT: &str = "a large red circle on a blue background";
const SEED: u64 = 7;
/// A worker may have to load the model first.
const PATIENCE: Duration = Duration::from_secs(300);

/// The worker's timings as the table shows them. It reports more, which repeat the others.
const WITHIN_RUN: [(&str, &str); 6] = [
    ("fetch_ms", "  fetch input"),
    ("wait_ms", "  wait for device"),
    ("load_ms", "  load model"),
    ("inference_ms", "  inference"),
    ("encode_ms", "  encode"),
    ("upload_ms", "  upload"),
];

/// Runs the subcommand.
pub(crate) fn run(interrupt: &Interrupt) -> Result<()> {
    let (stack, _) = up::all(interrupt)?;
    let state = stack.state()?;
    let key = state.api_key.clone().context("there is no API key")?;
    let client = Client::new(&environment::api_url(&state), key)?;
    let folder = stack.dir().join("demo");
    files::create_dir(&folder)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = show(&client, &folder) => outcome,
            () = interrupted(interrupt) => bail!("interrupted"),
        }
    })
}

async fn interrupted(interrupt: &Interrupt) {
    while !interrupt.is_set() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn show(client: &Client, folder: &Path) -> Result<()> {
    let mut request = TextToImageRequest::new(PROMPT);
    request.width = Some(128);
    request.height = Some(128);
    request.steps = Some(25);
    request.guidance_scale = Some(4.0);
    request.seed = Some(SEED);
    let step = Step::begin(format!("making a picture of \"{PROMPT}\""));
    let started = Instant::now();
    let accepted = client.submit_text_to_image(&request).await?;
    let picture = finish(client, &accepted, started, &folder.join("picture.png")).await?;
    step.done("made a picture");

    let step = Step::begin("describing that picture");
    let started = Instant::now();
    let accepted = client.caption(picture.bytes.clone(), "picture.png", &CaptionRequest::default()).await?;
    let caption = finish(client, &accepted, started, &folder.join("caption.txt")).await?;
    step.done("described it");

    note("");
    println!("prompt   {PROMPT}");
    println!("picture  {}", picture.url);
    println!("         saved as {}", picture.path.display());
    println!("caption  {}", caption.text.as_deref().unwrap_or_default());
    println!("         {}", caption.url);
    println!("both URLs were fetched: sizes and SHA-256 are as announced\n");
    print_table(&[("picture", &picture), ("caption", &caption)]);
    Ok(())
}

/// A result that was fetched, and how long that took.
struct Outcome {
    url: String,
    path: PathBuf,
    text: Option<String>,
    bytes: Vec<u8>,
    stages: Vec<(String, Duration)>,
}

/// Waits for the job, then fetches and verifies its first result and saves it as `path`.
async fn finish(client: &Client, accepted: &Job, started: Instant, path: &Path) -> Result<Outcome> {
    let submitted = started.elapsed();
    let job = client.wait(accepted.id, PATIENCE).await?;
    let waited = started.elapsed();
    if job.state != JobState::Succeeded {
        let reason = job.error.map(|failure| failure.message).unwrap_or_default();
        bail!("job {} is {}: {reason}", job.id, job.state);
    }
    let artifact = job.artifacts.first().with_context(|| format!("job {} has no result", job.id))?;
    let fetching = Instant::now();
    let bytes = client.fetch(&artifact.url).await?.to_vec();
    let fetched = fetching.elapsed();
    verify(artifact, &bytes)?;
    std::fs::write(path, &bytes).with_context(|| format!("failed to write {}", path.display()))?;

    let mut stages = vec![("submit".to_owned(), submitted)];
    stages.extend(between("queued", Some(job.created_at), job.started_at));
    stages.extend(between("run", job.started_at, job.finished_at));
    stages.extend(WITHIN_RUN.into_iter().filter_map(|(name, label)| {
        let milliseconds = job.timings.as_ref()?.get(name)?;
        Some((label.to_owned(), Duration::from_secs_f64(milliseconds.max(0.0) / 1_000.0)))
    }));
    stages.push(("from submit to answer".to_owned(), waited));
    stages.push(("fetch result".to_owned(), fetched));
    let (url, text) = (artifact.url.clone(), artifact.text.clone());
    Ok(Outcome { url, path: path.to_path_buf(), text, bytes, stages })
}

fn verify(artifact: &Artifact, bytes: &[u8]) -> Result<()> {
    let size_bytes = bytes.len() as u64;
    ensure!(size_bytes == artifact.size_bytes, "{} has {size_bytes} bytes", artifact.url);
    let digest = hex::encode(Sha256::digest(bytes));
    ensure!(digest == artifact.sha256, "{} has SHA-256 {digest}", artifact.url);
    Ok(())
}

fn between(name: &str, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Option<(String, Duration)> {
    let duration = (to? - from?).to_std().unwrap_or_default();
    Some((name.to_owned(), duration))
}

/// Stages down, jobs across. Every job has the same stages; one that a job lacks leaves its cell empty.
fn print_table(outcomes: &[(&str, &Outcome)]) {
    let heads: Vec<String> = outcomes.iter().map(|(head, _)| format!("{head:>12}")).collect();
    println!("{:<22}{}", "stage", heads.concat());
    let longest = outcomes.iter().max_by_key(|(_, outcome)| outcome.stages.len());
    for (name, _) in longest.iter().flat_map(|(_, outcome)| &outcome.stages) {
        let cells = outcomes.iter().map(|(_, outcome)| {
            let stage = outcome.stages.iter().find(|(stage, _)| stage == name);
            let cell = stage.map(|(_, time)| format!("{:.1} ms", time.as_secs_f64() * 1_000.0));
            format!("{:>12}", cell.unwrap_or_default())
        });
        println!("{name:<22}{}", cells.collect::<String>());
    }
}
