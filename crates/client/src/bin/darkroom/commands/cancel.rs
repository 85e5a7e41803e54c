//! `darkroom cancel`.

use clap::Args;
use uuid::Uuid;

use super::each;
use crate::failure::Outcome;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Ids of jobs
    #[arg(required = true, value_name = "JOB")]
    ids: Vec<Uuid>,
}

impl Cancel {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let cancel = async |_, id| {
            let job = session.client.cancel(id).await?;
            session.print(|| format!("job {id} is {}", job.state), &job)
        };
        each("job", &self.ids, cancel).await
    }
}
