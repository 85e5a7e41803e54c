//! Jobs whose submission has not been answered yet.
//!
//! Some clients repeat a submission that failed on the line, with nothing that tells it from another one. What is kept
//! with a job that has a fingerprint leads them to it. Best effort: nothing depends on it.

use std::time::Duration;

use darkroom_jobs::{JobId, TenantId};

use crate::{Error, Store};

/// Which jobs a repeated submission may be led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    /// Those of the last ten minutes: the client says that it repeats itself.
    Surely,
    /// Those of the last minute whose connection has ended: the client does not say so, and another caller may want the
    /// same at the same time.
    Perhaps,
}

impl Repeated {
    /// How far back.
    fn window(self) -> Duration {
        match self {
            Self::Surely => Store::UNANSWERED_FOR,
            Self::Perhaps => Duration::from_secs(60),
        }
    }
}

impl Store {
    /// How long a job is kept that was not answered.
    pub const UNANSWERED_FOR: Duration = Duration::from_secs(600);

    /// The tenant's latest job of a submission like this one that was not answered.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn unanswered(
        &self,
        tenant: TenantId,
        fingerprint: &[u8; 32],
        repeated: Repeated,
    ) -> Result<Option<JobId>, Error> {
        let found = sqlx::query_scalar!(
            "select u.job_id from unanswered_jobs u join jobs j on j.id = u.job_id
             where u.fingerprint = $1 and j.tenant_id = $2 and j.deleted_at is null
               and u.created_at > now() - $3 * interval '1 second'
               and (u.abandoned or $4)
             order by u.created_at desc limit 1",
            &fingerprint[..],
            tenant.as_uuid(),
            repeated.window().as_secs_f64(),
            repeated == Repeated::Surely
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.map(JobId::from_uuid))
    }

    /// Notes that the answer was sent.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn answered(&self, job: JobId) -> Result<(), Error> {
        sqlx::query!("delete from unanswered_jobs where job_id = $1", job.as_uuid())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes that the connection ended before the answer was sent.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn abandoned(&self, job: JobId) -> Result<(), Error> {
        sqlx::query!("update unanswered_jobs set abandoned = true where job_id = $1", job.as_uuid())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets jobs that were not answered within [`Self::UNANSWERED_FOR`]; how many.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn forget_unanswered(&self) -> Result<u64, Error> {
        let forgotten = sqlx::query!(
            "delete from unanswered_jobs where created_at <= now() - $1 * interval '1 second'",
            Self::UNANSWERED_FOR.as_secs_f64()
        )
        .execute(&self.pool)
        .await?;
        Ok(forgotten.rows_affected())
    }
}
