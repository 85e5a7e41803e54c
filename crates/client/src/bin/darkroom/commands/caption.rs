//! `darkroom caption`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use darkroom_client::{CaptionRequest, Job};
use serde::Serialize;

use crate::failure::{Outcome, complain};
use crate::follow::follow;
use crate::session::{Form, Session};
use crate::show::{ending, plain, warnings};
use crate::wanted::{QueueOptions, Wanted, is_stdin};

#[derive(Debug, Args)]
pub(crate) struct Caption {
    /// Pictures: PNG, JPEG, WebP or GIF; `-` reads one from the input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Words the captions start with
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,

    #[command(flatten)]
    queue: QueueOptions,
}

/// A job and the picture it describes.
#[derive(Serialize)]
struct Described<'a> {
    file: &'a Path,
    #[serde(flatten)]
    job: &'a Job,
}

impl Caption {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        check_files(&self.files)?;
        let request = CaptionRequest {
            model: self.queue.model.clone(),
            options: self.queue.job_options(),
            prompt: self.prompt.clone(),
            ..CaptionRequest::default()
        };
        let wanted: Vec<Wanted> = self
            .files
            .iter()
            .map(|file| Wanted::Caption { file: file.clone(), request: request.clone() })
            .collect();
        let report = |number: usize, job: &Job, ()| {
            let (file, outcome) = (&self.files[number], Outcome::of_state(job.state));
            warnings(job).for_each(complain);
            if outcome != Outcome::Done {
                complain(format_args!("{}: {}", file.display(), ending(job)));
            }
            let line = || match (caption(job).unwrap_or_default(), self.files.len()) {
                (caption, 1) => caption,
                (caption, _) => format!("{}: {caption}", file.display()),
            };
            if outcome == Outcome::Done || session.form == Form::Json {
                session.print(line, &Described { file, job })?;
            }
            Ok(outcome)
        };
        follow(session, &wanted, async |_, _| Ok(()), report).await
    }
}

/// The job's caption, on one line.
pub(super) fn caption(job: &Job) -> Option<String> {
    job.artifacts.iter().find_map(|artifact| artifact.text.as_deref()).map(plain)
}

/// Finds out about files that cannot be read before any is submitted.
pub(super) fn check_files(files: &[PathBuf]) -> anyhow::Result<()> {
    ensure!(files.iter().filter(|file| is_stdin(file)).count() <= 1, "`-` can be given once");
    for file in files.iter().filter(|file| !is_stdin(file)) {
        let opened = std::fs::File::open(file).and_then(|opened| opened.metadata());
        let metadata = opened.with_context(|| format!("failed to read {}", file.display()))?;
        ensure!(!metadata.is_dir(), "{} is a folder, not a picture", file.display());
    }
    Ok(())
}
