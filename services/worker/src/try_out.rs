//! `darkroom-worker run`: one task on one model, without any service. For trying a model, and for finding out
//! what is wrong with one.

mod arguments;
mod report;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use darkroom_jobs::{Pipeline, TextToImage};
use darkroom_models::{LatentDiffusion, LoadOptions, Output, Request, Run, load};

use self::arguments::RunArguments;
use self::report::Report;
use crate::encode;

/// What the program does besides being a worker.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one task on one model, without any service.
    Run(Box<RunArguments>),
}

impl Command {
    /// Does it, telling on stderr how it goes.
    pub fn run(self) -> ExitCode {
        let Self::Run(arguments) = self;
        match arguments.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report::say(&format!("error: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }
}

impl RunArguments {
    fn run(&self) -> anyhow::Result<()> {
        match &self.image {
            Some(image) => self.caption(image),
            None => self.draw(),
        }
    }

    fn options(&self) -> LoadOptions {
        LoadOptions { dtype: self.dtype, deep_cache: self.deep_cache, ..LoadOptions::default() }
    }

    fn caption(&self, image: &Path) -> anyhow::Result<()> {
        let bytes = fs::read(image).with_context(|| format!("failed to read {}", image.display()))?;
        let image = darkroom_pictures::decode(&bytes).with_context(|| format!("{}", image.display()))?;
        let mut report = Report::begin()?;
        let (device, folder) = (self.device()?, self.folder());
        let mut model = load(&folder, Pipeline::ImageToText, &device, &self.options())?;
        report.loaded(model.memory_bytes());
        let request = Request::ImageToText { image, prompt: self.prompt.clone().unwrap_or_default() };
        let mut caption = None;
        model.run(
            &request,
            &mut Run {
                canceled: &AtomicBool::new(false),
                on_progress: &mut |progress| report.step(progress),
                on_output: &mut |output| caption = Some(output),
                on_warning: &mut |warning| report::warn(&warning),
                previews: None,
            },
        )?;
        report.end();
        let Some(Output::Text(caption)) = caption else { bail!("the model gave no caption") };
        report::print(&caption)
    }

    fn draw(&self) -> anyhow::Result<()> {
        let task = self.task()?;
        let files = self.files(&task)?;
        let mut report = Report::begin()?;
        let mut model = LatentDiffusion::load(&self.folder(), &self.device()?, &self.options())?;
        report.loaded(darkroom_models::Model::memory_bytes(&model));
        let request = Request::TextToImage { task: task.clone(), done: vec![], loras: self.loras() };
        let mut written = Ok(());
        let mut write = |output| {
            if written.is_ok() {
                written = self.write(&output, &task, &files);
            }
        };
        model.run_with(
            &request,
            &self.exchange(),
            &mut Run {
                canceled: &AtomicBool::new(false),
                on_progress: &mut |progress| report.step(progress),
                on_output: &mut write,
                on_warning: &mut |warning| report::warn(&warning),
                previews: None,
            },
        )?;
        report.end();
        written
    }

    fn write(&self, output: &Output, task: &TextToImage, files: &[String]) -> anyhow::Result<()> {
        let Output::Image { index, seed, image, nsfw } = output else { return Ok(()) };
        let file = &files[*index as usize];
        let parameters =
            task.output.embed_parameters.then(|| encode::parameters(task, *seed, &self.model_name()));
        let bytes = encode::encode(image, task.output.format, parameters.as_deref())?;
        fs::write(file, bytes).with_context(|| format!("failed to write {file}"))?;
        let remark = if *nsfw { ", which the safety checker objects to" } else { "" };
        report::say(&format!("wrote {file} (seed {seed}){remark}"));
        Ok(())
    }
}
