//! Pictures in work, for whoever looks on: made only then, and kept for a minute.

use std::time::Duration;

use chrono::{DateTime, Utc};
use darkroom_jobs::JobId;
use uuid::Uuid;

use crate::rows::At;
use crate::{Error, Store};

/// A preview to be kept in place of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPreview {
    /// Which of the job's pictures, from 0.
    pub image: u32,
    /// Steps done for it.
    pub step: u32,
    /// A WebP of at most [`Store::MAX_PREVIEW_BYTES`].
    pub content: Vec<u8>,
}

/// A preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Of which job.
    pub job: JobId,
    /// Which of the job's pictures, from 0.
    pub image: u32,
    /// Steps done for it.
    pub step: u32,
    /// A WebP.
    pub content: Vec<u8>,
    /// When it was made.
    pub made_at: DateTime<Utc>,
}

impl Store {
    /// Largest preview.
    pub const MAX_PREVIEW_BYTES: usize = 16 * 1024;
    /// For how long a call of [`Self::watch_jobs`] counts.
    pub const WATCHED_FOR: Duration = Duration::from_secs(10);

    /// Says that somebody looks on at these jobs, for [`Self::WATCHED_FOR`].
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn watch_jobs(&self, ids: &[JobId]) -> Result<(), Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        // In order, so that two APIs cannot wait for each other.
        sqlx::query!(
            "insert into job_watchers (job_id, watched_until)
             select id, now() + $2 * interval '1 second' from unnest($1::uuid[]) id order by id
             on conflict (job_id) do update set watched_until = excluded.watched_until",
            &uuids,
            Self::WATCHED_FOR.as_secs_f64()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Those of these jobs that somebody looks on at.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn watched_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>, Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let watched = sqlx::query_scalar!(
            "select job_id from job_watchers where job_id = any($1) and watched_until > now()",
            &uuids
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(watched.into_iter().map(JobId::from_uuid).collect())
    }

    /// Keeps a preview in place of the one before, if it is not larger than [`Self::MAX_PREVIEW_BYTES`].
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn keep_preview(&self, job: JobId, preview: &NewPreview) -> Result<(), Error> {
        if preview.content.is_empty() || preview.content.len() > Self::MAX_PREVIEW_BYTES {
            return Ok(());
        }
        let integer = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        sqlx::query!(
            "insert into job_previews (job_id, image, step, content) values ($1, $2, $3, $4)
             on conflict (job_id) do update
             set image = excluded.image, step = excluded.step, content = excluded.content, made_at = excluded.made_at",
            job.as_uuid(),
            integer(preview.image),
            integer(preview.step),
            preview.content
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The previews of these jobs, whoever owns them: for callers that have checked the owner before.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn previews(&self, ids: &[JobId]) -> Result<Vec<Preview>, Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query!(
            "select job_id, image, step, content, made_at from job_previews where job_id = any($1)",
            &uuids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let at = At { table: "job_previews", id: row.job_id };
                Ok(Preview {
                    job: JobId::from_uuid(row.job_id),
                    image: at.integer("image", row.image)?,
                    step: at.integer("step", row.step)?,
                    content: row.content,
                    made_at: row.made_at,
                })
            })
            .collect()
    }

    /// Forgets previews and watchers that are a minute old; how many.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn forget_previews(&self) -> Result<u64, Error> {
        let previews = sqlx::query!("delete from job_previews where made_at < now() - interval '1 minute'")
            .execute(&self.pool)
            .await?;
        let watchers =
            sqlx::query!("delete from job_watchers where watched_until < now() - interval '1 minute'")
                .execute(&self.pool)
                .await?;
        Ok(previews.rows_affected() + watchers.rows_affected())
    }
}
