//! The subcommands.

mod admin;
mod batch;
mod batches;
mod cancel;
mod caption;
mod delete;
mod files;
mod generate;
mod job;
mod jobs;
mod models;
mod shell;
mod submit;
mod usage;
mod watch;
mod webhooks;

use clap::{Parser, Subcommand};
use uuid::Uuid;

use crate::failure::{Outcome, report};
use crate::session::{Options, Session};

const AFTER_HELP: &str = "\
Exit codes:
    0  done
    1  something on this machine failed, such as writing a file
    2  the command line was not understood
    3  the service refused the request
    4  no key, or one that may not do this
    5  the service cannot be reached or is overloaded
    6  a job failed        7  was canceled        8  expired
  130  interrupted";

/// Pictures from words and words from pictures, by a Darkroom service.
#[derive(Debug, Parser)]
#[command(name = "darkroom", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make pictures from prompts and save them
    Generate(generate::Generate),
    /// Say what pictures show
    Caption(caption::Caption),
    /// Submit jobs and print their ids, without waiting
    Submit(submit::Submit),
    /// Run a file of jobs and save their results; the same command again goes on where one ended
    Batch(batch::Batch),
    /// Show jobs as they stand
    Job(job::Job),
    /// Follow jobs until they are final
    Watch(watch::Watch),
    /// List jobs, newest first
    Jobs(jobs::Jobs),
    /// Cancel jobs
    Cancel(cancel::Cancel),
    /// Delete final jobs with their results
    Delete(delete::Delete),
    /// Look at batches, and cancel them
    #[command(subcommand)]
    Batches(batches::Batches),
    /// Pictures that are sent once and described by many jobs
    #[command(subcommand)]
    Files(files::Files),
    /// List what can be asked for, and who serves it
    Models,
    /// Show what was used and what it cost, by day
    Usage(usage::Usage),
    /// Be told by HTTP when jobs end
    #[command(subcommand)]
    Webhooks(webhooks::Webhooks),
    /// What operators look at and decide, on the operations port of an API
    Admin(admin::Administer),
    /// Print completions for a shell
    Completions(shell::Completions),
    /// Print the manual page, or write all of them to a folder
    Man(shell::Man),
}

/// Does the same with each of several things, such as jobs, and goes on after one that it cannot be done with.
async fn each(thing: &str, ids: &[Uuid], act: impl AsyncFn(usize, Uuid) -> anyhow::Result<()>) -> Outcome {
    let mut outcome = Outcome::Done;
    for (number, id) in ids.iter().enumerate() {
        if let Err(error) = act(number, *id).await {
            outcome = outcome.then(report(&error.context(format!("{thing} {id}"))));
        }
    }
    outcome
}

impl Arguments {
    /// Does what was asked for.
    pub(crate) async fn run(self) -> anyhow::Result<Outcome> {
        // These two speak to no service.
        let command = match self.command {
            Command::Completions(completions) => return completions.run(),
            Command::Man(man) => return man.run(),
            // Its service and its key are others.
            Command::Admin(admin) => return admin.run(self.options.form()).await,
            command => command,
        };
        let session = Session::new(self.options)?;
        match command {
            Command::Generate(generate) => generate.run(&session).await,
            Command::Caption(caption) => caption.run(&session).await,
            Command::Submit(submit) => submit.run(&session).await,
            Command::Batch(batch) => batch.run(&session).await,
            Command::Batches(batches) => Ok(batches.run(&session).await),
            Command::Files(files) => files.run(&session).await,
            Command::Job(job) => job.run(&session).await,
            Command::Watch(watch) => watch.run(&session).await,
            Command::Jobs(jobs) => jobs.run(&session).await,
            Command::Cancel(cancel) => Ok(cancel.run(&session).await),
            Command::Delete(delete) => Ok(delete.run(&session).await),
            Command::Models => models::run(&session).await,
            Command::Usage(usage) => usage.run(&session).await,
            Command::Webhooks(webhooks) => webhooks.run(&session).await,
            Command::Admin(_) | Command::Completions(_) | Command::Man(_) => Ok(Outcome::Done),
        }
    }
}
