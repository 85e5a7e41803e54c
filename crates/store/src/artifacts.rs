//! Artifacts: recorded under the lease, read by id.

use chrono::{DateTime, Utc};
use darkroom_jobs::ArtifactId;
use serde::Deserialize;

use crate::rows::At;
use crate::{Error, Lease, Store};

/// A stored result.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Artifact {
    /// Its id, part of its URL.
    pub id: ArtifactId,
    /// Which result of the job, from 0.
    pub index: u32,
    /// Media type.
    pub content_type: String,
    /// Size of the object.
    pub size_bytes: u64,
    /// SHA-256 of the object.
    #[serde(with = "hex::serde")]
    pub sha256: Vec<u8>,
    /// Width in pixels; `None` for a caption.
    pub width: Option<u32>,
    /// Height in pixels; `None` for a caption.
    pub height: Option<u32>,
    /// Seed of a picture.
    pub seed: Option<u64>,
    /// Whether the safety checker flagged it.
    pub nsfw: bool,
    /// The caption.
    pub text: Option<String>,
}

/// A result that lies in the blob store and is to be recorded.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    /// UUIDv7.
    pub id: ArtifactId,
    /// Which result of the job, from 0.
    pub index: u32,
    /// Object key.
    pub key: String,
    /// Media type.
    pub content_type: String,
    /// Size of the object.
    pub size_bytes: u64,
    /// SHA-256 of the object.
    pub sha256: [u8; 32],
    /// Width in pixels; `None` for a caption.
    pub width: Option<u32>,
    /// Height in pixels; `None` for a caption.
    pub height: Option<u32>,
    /// Seed of a picture.
    pub seed: Option<u64>,
    /// Whether the safety checker flagged it.
    pub nsfw: bool,
    /// The caption.
    pub text: Option<String>,
}

/// Its numbers as the columns take them.
impl NewArtifact {
    pub(crate) fn index(&self) -> i32 {
        i32::try_from(self.index).unwrap_or(i32::MAX)
    }

    pub(crate) fn size_bytes(&self) -> i64 {
        i64::try_from(self.size_bytes).unwrap_or(i64::MAX)
    }

    pub(crate) fn width(&self) -> Option<i32> {
        self.width.and_then(|side| i32::try_from(side).ok())
    }

    pub(crate) fn height(&self) -> Option<i32> {
        self.height.and_then(|side| i32::try_from(side).ok())
    }

    pub(crate) fn seed(&self) -> Option<i64> {
        self.seed.and_then(|seed| i64::try_from(seed).ok())
    }
}

/// Where a result lies, for whoever serves its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactObject {
    /// Object key.
    pub key: String,
    /// Media type.
    pub content_type: String,
    /// Size of the object.
    pub size_bytes: u64,
    /// SHA-256 of the object.
    pub sha256: Vec<u8>,
    /// End of its job's retention.
    pub expires_at: DateTime<Utc>,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It belongs to the job now.
    Stored,
    /// The lease is gone; nothing was changed.
    LeaseGone,
}

impl Store {
    /// Records a result, if the lease still holds, and tells the job's webhook if that wants to hear of it. Recording
    /// the same result again changes nothing.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn record_artifact(&self, lease: &Lease, new: &NewArtifact) -> Result<Recorded, Error> {
        // The update locks the job row, so that cancel, reaper and this statement run one after another.
        let held = sqlx::query_scalar!(
            r#"
            with job as (
                update jobs set version = version + 1
                where id = $1 and attempt = $2 and lease_token = $3 and state = 'running'
                returning id, attempt, told_early
            ), artifact as (
                insert into artifacts (id, job_id, index, attempt, key, content_type, size_bytes, sha256, width, height,
                                       seed, nsfw, text)
                select $4, id, $5, attempt, $6, $7, $8, $9, $10, $11, $12, $13, $14 from job
                on conflict (job_id, index) do nothing
                returning job_id
            ), told as (
                insert into webhook_deliveries (id, webhook_id, job_id, event)
                select uuid_v7(), hook.webhook_id, hook.job_id, 'job.output'
                from job
                join artifact on artifact.job_id = job.id
                join job_webhooks hook on hook.job_id = job.id
                where job.told_early and 'job.output' = any(hook.events)
            )
            select id from job
            "#,
            lease.job.as_uuid(),
            lease.attempt,
            lease.token.as_uuid(),
            new.id.as_uuid(),
            new.index(),
            new.key,
            new.content_type,
            new.size_bytes(),
            &new.sha256[..],
            new.width(),
            new.height(),
            new.seed(),
            new.nsfw,
            new.text
        )
        .fetch_optional(&self.pool)
        .await?;
        self.pending.job(lease.job);
        Ok(if held.is_some() { Recorded::Stored } else { Recorded::LeaseGone })
    }

    /// Where a result lies; `None` once its job is deleted or past its retention.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn artifact_object(&self, id: ArtifactId) -> Result<Option<ArtifactObject>, Error> {
        let row = sqlx::query!(
            "select a.key, a.content_type, a.size_bytes, a.sha256, j.expires_at
             from artifacts a join jobs j on j.id = a.job_id
             where a.id = $1 and j.deleted_at is null and j.expires_at > now()",
            id.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(ArtifactObject {
                key: row.key,
                content_type: row.content_type,
                size_bytes: At { table: "artifacts", id: id.as_uuid() }
                    .integer("size_bytes", row.size_bytes)?,
                sha256: row.sha256,
                expires_at: row.expires_at,
            })
        })
        .transpose()
    }
}
