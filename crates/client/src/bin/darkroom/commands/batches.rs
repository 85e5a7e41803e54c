//! `darkroom batches`.

use clap::{Args, Subcommand};
use darkroom_client::{Batch, Job};
use uuid::Uuid;

use super::each;
use crate::failure::Outcome;
use crate::session::{Form, Session, print_line};
use crate::show::{self, time};

/// Most jobs of one page.
const PAGE: u32 = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum Batches {
    /// Show how far batches are, and their jobs, the last document's first
    Show(Show),
    /// Cancel what is not final of batches
    Cancel {
        /// Ids of batches
        #[arg(required = true, value_name = "BATCH")]
        ids: Vec<Uuid>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Ids of batches
    #[arg(required = true, value_name = "BATCH")]
    ids: Vec<Uuid>,

    /// Show at most so many jobs of each
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: u32,
}

impl Batches {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Show(show) => each("batch", &show.ids, async |_, id| show.one(session, id).await).await,
            Self::Cancel { ids } => {
                let cancel = async |_, id| {
                    let batch = session.client.cancel_batch(id).await?;
                    session.print(|| format!("batch {id} is canceled: {}", counts(&batch)), &batch)
                };
                each("batch", &ids, cancel).await
            }
        }
    }
}

impl Show {
    async fn one(&self, session: &Session, id: Uuid) -> anyhow::Result<()> {
        // The counts come with a page.
        let mut page = session.client.batch(id, self.limit.clamp(1, PAGE), None).await?;
        let mut jobs: Vec<Job> = std::mem::take(&mut page.jobs);
        while jobs.len() < self.limit as usize
            && let Some(cursor) = &page.next_cursor
        {
            page = session.client.batch(id, PAGE, Some(cursor)).await?;
            jobs.append(&mut page.jobs);
        }
        jobs.truncate(self.limit as usize);
        match session.form {
            Form::Json => session.print(String::new, &darkroom_client::BatchPage { jobs, ..page }),
            Form::Text => {
                let head = format!("batch {id} of {}: {}", time(page.batch.created_at), counts(&page.batch));
                let list = if jobs.is_empty() { String::new() } else { format!("\n{}", show::jobs(&jobs)) };
                print_line(&(head + &list))
            }
        }
    }
}

/// How many jobs are in each state that any is in.
fn counts(batch: &Batch) -> String {
    const STATES: [&str; 6] = ["queued", "running", "succeeded", "failed", "canceled", "expired"];
    let counts = STATES.iter().filter_map(|state| {
        let count = batch.counts.get(*state).filter(|count| **count > 0)?;
        Some(format!("{count} {state}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}
