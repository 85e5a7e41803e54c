//! How long a model takes from the disk to its first step, beside reading its files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use darkroom_jobs::{ImageSize, Loras, PictureOutput, Pipeline, Prompt, TextToImage};
use darkroom_models::{Device, Error, LoadOptions, ModelFolder, Request, Run, load};

use crate::figure::{Figure, Target};
use crate::limits::forget;
use crate::models::{self, Name};
use crate::report::{note, print};
use crate::samples::{Samples, in_turns};

/// The first argument of the process that loads.
pub(crate) const ROLE: &str = "first-step";

/// What that says, in this order.
const LOADED: &str = "loaded";
const STEPPED: &str = "stepped";

/// What a pipeline loads.
const COMPONENTS: [&str; 3] = ["text_encoder", "unet", "vae"];

/// The pages of the files are forgotten before each turn.
pub(crate) fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let folder = models::ensure(Name::Sd15)?;
    let files = weights(&folder)?;
    let mut stepped = Vec::new();
    let ours = || {
        forget_all(&files)?;
        let (loaded, first_step) = load_and_step(&folder)?;
        note(format!("loaded after {loaded:.2} s, one step done after {first_step:.2} s"));
        stepped.push(first_step);
        Ok(loaded)
    };
    let cat = || {
        forget_all(&files)?;
        let started = Instant::now();
        let status = Command::new("cat").args(&files).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "cat failed: {status}");
        Ok(started.elapsed().as_secs_f64())
    };
    let (loaded, read) = in_turns(rounds, ours, cat)?;
    let figure = |what: &str, ours| Figure {
        name: format!("Stable Diffusion 1.5 from disk, until {what}"),
        unit: "s",
        ours,
        reference: Some(("cat".to_owned(), read.clone())),
        target: Some(Target::RatioAtMost(1.5)),
    };
    Ok(vec![figure("it is loaded", loaded), figure("one step is done", Samples::new(stepped))])
}

fn weights(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for component in COMPONENTS {
        for entry in fs::read_dir(folder.join(component))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                files.push(path);
            }
        }
    }
    ensure!(files.len() >= COMPONENTS.len(), "{} lacks weights", folder.display());
    Ok(files)
}

fn forget_all(files: &[PathBuf]) -> Result<()> {
    files.iter().try_for_each(|file| forget(file))
}

/// Seconds from the start of a process until it has loaded the model, and until it has made a step.
fn load_and_step(folder: &Path) -> Result<(f64, f64)> {
    let started = Instant::now();
    let mut child = models::ours(ROLE)?.arg(folder).stdout(Stdio::piped()).spawn()?;
    let told = told(&mut child, started);
    let status = child.wait()?;
    ensure!(status.success(), "{ROLE} failed: {status}");
    told
}

fn told(child: &mut Child, started: Instant) -> Result<(f64, f64)> {
    let mut lines = BufReader::new(child.stdout.take().context("the process has no output")?).lines();
    let mut after = |word: &str| match lines.next().transpose()? {
        Some(line) if line == word => Ok(started.elapsed().as_secs_f64()),
        line => bail!("{ROLE} said {line:?} instead of {word}"),
    };
    Ok((after(LOADED)?, after(STEPPED)?))
}

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(value_parser = [ROLE])]
    role: String,
    folder: PathBuf,
}

/// Loads the model as a worker does, makes a step of a picture, and says when each is done.
pub(crate) fn run() -> Result<()> {
    let folder = ModelFolder::from(Arguments::parse().folder);
    let mut model = load(&folder, Pipeline::TextToImage, &Device::cpu(), &LoadOptions::default())?;
    print(LOADED);
    let request = Request::TextToImage { task: task()?, loras: Vec::new(), done: Vec::new() };
    let canceled = AtomicBool::new(false);
    let mut run = Run {
        canceled: &canceled,
        on_progress: &mut |_| {
            print(STEPPED);
            canceled.store(true, Ordering::Relaxed);
        },
        on_output: &mut |_| {},
        on_warning: &mut |_| {},
        previews: None,
    };
    match model.run(&request, &mut run) {
        Ok(()) | Err(Error::Canceled) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Without guidance.
fn task() -> Result<TextToImage> {
    Ok(TextToImage {
        prompt: Prompt::new("a lighthouse at dusk")?,
        negative_prompt: None,
        size: ImageSize::new(512, 512).context("there are no such pictures")?,
        steps: 20,
        guidance_scale: 1.0,
        seed: 1,
        images: 1,
        scheduler: None,
        loras: Loras::default(),
        safety_check: false,
        output: PictureOutput::default(),
    })
}
