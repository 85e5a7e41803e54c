//! `darkroom delete`.

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::each;
use crate::failure::Outcome;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Ids of jobs that are final
    #[arg(required = true, value_name = "JOB")]
    ids: Vec<Uuid>,
}

impl Delete {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let delete = async |_, id| {
            session.client.delete(id).await?;
            session.print(|| format!("job {id} is deleted"), &json!({"id": id, "deleted": true}))
        };
        each("job", &self.ids, delete).await
    }
}
