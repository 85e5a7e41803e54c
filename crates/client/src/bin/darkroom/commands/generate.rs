//! `darkroom generate`.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use crate::dry_run::try_out;
use crate::failure::{Outcome, complain};
use crate::follow::follow;
use crate::previews::Previews;
use crate::save::Saver;
use crate::session::{Form, Session, print_line};
use crate::show::{ending, warnings};
use crate::wanted::{PictureOptions, QueueOptions, Wanted, read_stdin};

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// What the pictures should show; each prompt is a job of its own. `-` reads prompts from the input, one a line
    #[arg(required = true, value_name = "PROMPT")]
    prompts: Vec<String>,

    /// File to save to, numbered when there are several pictures; a folder; or `-` for the output. Without it
    /// pictures are named after prompt and seed
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Save previews of pictures in work: a folder, where each is a WebP file named after job, picture and step; or
    /// a file, which always has the latest one (numbered when there are several jobs)
    #[arg(long, value_name = "FILE")]
    previews: Option<PathBuf>,

    #[command(flatten)]
    picture: PictureOptions,

    #[command(flatten)]
    queue: QueueOptions,
}

/// A job and the files its results were saved to.
#[derive(Serialize)]
pub(super) struct Saved<'a> {
    #[serde(flatten)]
    pub(super) job: &'a darkroom_client::Job,
    pub(super) files: Vec<PathBuf>,
}

impl Generate {
    pub(super) async fn run(mut self, session: &Session) -> anyhow::Result<Outcome> {
        let prompts = read_prompts(self.prompts).await?;
        let saver = Saver::new(self.output.as_deref(), prompts.len(), self.picture.images.unwrap_or(1))?;
        self.picture.format = saver.format(self.picture.format)?;
        let options = self.queue.job_options();
        let request = |prompt: &String| self.picture.request(prompt, self.queue.model.as_ref(), &options);
        let wanted: Vec<Wanted> =
            prompts.iter().map(|prompt| Wanted::Picture(Box::new(request(prompt)))).collect();
        if self.queue.dry_run {
            return try_out(session, &wanted).await;
        }
        let previews = self.previews.map(|path| Previews::new(&path, wanted.len())).transpose()?;
        follow(
            session,
            &wanted,
            previews.as_ref(),
            async |number, job| saver.save(&session.client, number, job).await,
            |_, job, files| report_saved(session, &Saved { job, files }),
        )
        .await
    }
}

/// Prints where the results are, and says why there are none.
pub(super) fn report_saved(session: &Session, saved: &Saved) -> anyhow::Result<Outcome> {
    if session.form == Form::Json {
        session.print(String::new, saved)?;
    } else {
        saved.files.iter().try_for_each(|file| print_line(&file.display().to_string()))?;
    }
    warnings(saved.job).for_each(complain);
    let outcome = Outcome::of_state(saved.job.state);
    if outcome != Outcome::Done {
        complain(ending(saved.job));
    }
    Ok(outcome)
}

/// The prompts, with those on the input in place of `-`.
pub(super) async fn read_prompts(given: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut prompts = Vec::new();
    for prompt in given {
        if prompt == "-" {
            let text = String::from_utf8_lossy(&read_stdin().await?).into_owned();
            prompts.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
        } else {
            prompts.push(prompt);
        }
    }
    ensure!(!prompts.is_empty(), "there is no prompt in the input");
    Ok(prompts)
}
