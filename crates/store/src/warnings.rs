//! Warnings: recorded under the lease, shown with the job.

use darkroom_jobs::Warning;
use serde_json::Value;

use crate::{Error, Lease, Recorded, Store};

impl Store {
    /// Records a warning, if the lease still holds. A job has each warning once, however often it is reported.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn record_warning(&self, lease: &Lease, warning: &Warning) -> Result<Recorded, Error> {
        // The update locks the job row, so that cancel, reaper and this statement run one after another.
        let held = sqlx::query_scalar!(
            r#"
            with job as (
                update jobs set version = version + 1
                where id = $1 and attempt = $2 and lease_token = $3 and state = 'running'
                returning id, attempt
            ), warning as (
                insert into job_warnings (job_id, digest, attempt, code, message, detail)
                select id, sha256(convert_to(jsonb_build_array($4::text, $6::jsonb)::text, 'UTF8')), attempt, $4, $5, $6
                from job
                on conflict (job_id, digest) do nothing
            )
            select id from job
            "#,
            lease.job.as_uuid(),
            lease.attempt,
            lease.token.as_uuid(),
            warning.code,
            warning.message,
            Value::Object(warning.detail.clone())
        )
        .fetch_optional(&self.pool)
        .await?;
        self.pending.job(lease.job);
        Ok(if held.is_some() { Recorded::Stored } else { Recorded::LeaseGone })
    }
}
