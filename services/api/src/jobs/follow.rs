//! A job's versions, one after the other.

use std::time::Duration;

use darkroom_jobs::{JobId, TenantId};
use darkroom_store::Job;
use futures_util::{Stream, stream};

use super::{Jobs, Until};
use crate::Error;

/// How long one look lasts. Only bounds what a lost notification costs.
const LOOK: Duration = Duration::from_secs(30);

enum At {
    Start,
    /// This version was told.
    Version(i32),
    End,
}

impl Jobs {
    /// The job as it stands, and again whenever it has another version, until it is final, cannot be read, or the
    /// service stops. Versions that follow one another closely may be told as one.
    pub(crate) fn follow(
        self,
        tenant: TenantId,
        id: JobId,
    ) -> impl Stream<Item = Result<Job, Error>> + Send + 'static {
        stream::unfold((self, At::Start), move |(jobs, mut at)| async move {
            loop {
                let job = match at {
                    At::Start => jobs.find(tenant, id).await,
                    At::Version(_) if jobs.stop.is_cancelled() => return None,
                    At::Version(told) => jobs.hold(tenant, id, &Until::Beyond(told), LOOK).await,
                    At::End => return None,
                };
                match job {
                    Ok(job) if matches!(at, At::Version(told) if told == job.version) => {}
                    Ok(job) => {
                        at = if job.state.is_final() { At::End } else { At::Version(job.version) };
                        return Some((Ok(job), (jobs, at)));
                    }
                    Err(error) => return Some((Err(error), (jobs, At::End))),
                }
            }
        })
    }
}
