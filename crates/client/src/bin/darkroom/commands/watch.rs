//! `darkroom watch`.

use std::path::PathBuf;

use clap::Args;
use uuid::Uuid;

use super::caption::caption;
use super::generate::{Saved, report_saved};
use crate::failure::Outcome;
use crate::follow::follow;
use crate::previews::Previews;
use crate::save::Saver;
use crate::session::{Form, Session, print_line};
use crate::wanted::Wanted;

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Ids of jobs
    #[arg(required = true, value_name = "JOB")]
    ids: Vec<Uuid>,

    /// Save the results: a file, numbered when there are several; a folder; or `-` for the output. Without it
    /// their URLs or captions are printed
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Save previews of pictures in work: a folder, where each is a WebP file named after job, picture and step; or
    /// a file, which always has the latest one (numbered when there are several jobs)
    #[arg(long, value_name = "FILE")]
    previews: Option<PathBuf>,
}

impl Watch {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let output = self.output.as_deref();
        let saver = output.map(|output| Saver::new(Some(output), self.ids.len(), 1)).transpose()?;
        let previews = self.previews.map(|path| Previews::new(&path, self.ids.len())).transpose()?;
        let wanted: Vec<Wanted> = self.ids.iter().copied().map(Wanted::Known).collect();
        let finish = async |number: usize, job: &darkroom_client::Job| match &saver {
            Some(saver) => saver.save(&session.client, number, job).await,
            None => Ok(Vec::new()),
        };
        let report = |_, job: &darkroom_client::Job, files| {
            if saver.is_none() && session.form == Form::Text {
                match caption(job) {
                    Some(caption) => print_line(&caption)?,
                    None => job.artifacts.iter().try_for_each(|artifact| print_line(&artifact.url))?,
                }
            }
            report_saved(session, &Saved { job, files })
        };
        follow(session, &wanted, previews.as_ref(), finish, report).await
    }
}
