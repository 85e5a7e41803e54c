//! `darkroom jobs`.

use clap::Args;
use darkroom_client::{JobFilter, JobState};

use crate::failure::Outcome;
use crate::session::{Form, Session, print_line};
use crate::show;
use crate::wanted::parse_label;

/// Most jobs of one page.
const PAGE: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// Only jobs in this state: queued, running, succeeded, failed, canceled or expired
    #[arg(long, value_parser = parse_state)]
    state: Option<JobState>,

    /// Only jobs of this pipeline: text-to-image or image-to-text
    #[arg(long)]
    pipeline: Option<String>,

    /// Only jobs of the model with this id
    #[arg(long)]
    model: Option<String>,

    /// Only jobs with this label; can be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_label)]
    metadata: Vec<(String, String)>,

    /// Show at most so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: u32,
}

fn parse_state(text: &str) -> Result<JobState, String> {
    let parsed = serde_json::from_value(text.into());
    parsed.map_err(|_| "expected queued, running, succeeded, failed, canceled or expired".to_owned())
}

impl Jobs {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let mut filter = JobFilter {
            state: self.state,
            pipeline: self.pipeline,
            model: self.model,
            metadata: self.metadata.into_iter().collect(),
            ..JobFilter::default()
        };
        let mut left = self.limit;
        let mut found = Vec::new();
        while left > 0 {
            filter.limit = Some(left.min(PAGE));
            let page = session.client.jobs(&filter).await?;
            left = left.saturating_sub(u32::try_from(page.jobs.len()).unwrap_or(left));
            found.extend(page.jobs);
            filter.cursor = page.next_cursor;
            if filter.cursor.is_none() {
                break;
            }
        }
        match session.form {
            Form::Text => print_line(&show::jobs(&found))?,
            Form::Json => found.iter().try_for_each(|job| session.print(String::new, job))?,
        }
        Ok(Outcome::Done)
    }
}
