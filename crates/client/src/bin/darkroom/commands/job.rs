//! `darkroom job`.

use std::path::PathBuf;

use clap::Args;
use uuid::Uuid;

use super::each;
use super::generate::Saved;
use crate::failure::Outcome;
use crate::save::Saver;
use crate::session::Session;
use crate::show::details;
use crate::wanted::is_stdin;

#[derive(Debug, Args)]
pub(crate) struct Job {
    /// Ids of jobs
    #[arg(required = true, value_name = "JOB")]
    ids: Vec<Uuid>,

    /// Save the results so far: a file, numbered when there are several; a folder; or `-` for the output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Job {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let output = self.output.as_deref();
        let saver = output.map(|output| Saver::new(Some(output), self.ids.len(), 1)).transpose()?;
        let show = async |number, id| {
            let job = session.client.job(id).await?;
            let files = match &saver {
                Some(saver) => saver.save(&session.client, number, &job).await?,
                None => Vec::new(),
            };
            if output.is_some_and(is_stdin) {
                return Ok(());
            }
            let saved =
                files.iter().map(|file| format!("\nsaved as   {}", file.display())).collect::<String>();
            let gap = if number + 1 < self.ids.len() { "\n" } else { "" };
            session.print(|| details(&job) + &saved + gap, &Saved { job: &job, files })
        };
        Ok(each("job", &self.ids, show).await)
    }
}
