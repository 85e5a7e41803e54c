//! Pictures that tenants send once and name in any number of jobs.
//!
//! A job that names a file refers to the file's object. A file that was deleted can be named by no new job, and its
//! object is kept until the last job that names it is swept: accepting a job locks the file's row, so whoever sees it
//! deleted sees every job that names it.

use chrono::{DateTime, Utc};
use darkroom_jobs::{FileId, TenantId};
use uuid::Uuid;

use crate::rows::At;
use crate::{Error, Store};

/// A stored picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its id.
    pub id: FileId,
    /// SHA-256 of its object.
    pub sha256: [u8; 32],
    /// Media type by content.
    pub content_type: String,
    /// Size of its object.
    pub size_bytes: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it is deleted unless it is used before.
    pub expires_at: DateTime<Utc>,
}

/// A picture that lies in the blob store and is to be recorded.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// UUIDv7.
    pub id: FileId,
    /// Its owner.
    pub tenant: TenantId,
    /// SHA-256 of its object.
    pub sha256: [u8; 32],
    /// Media type by content.
    pub content_type: String,
    /// Size of its object.
    pub size_bytes: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

struct FileRow {
    id: Uuid,
    sha256: Vec<u8>,
    content_type: String,
    size_bytes: i64,
    width: i32,
    height: i32,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl TryFrom<FileRow> for File {
    type Error = Error;

    fn try_from(row: FileRow) -> Result<Self, Error> {
        let at = At { table: "files", id: row.id };
        let sha256 = row.sha256.try_into();
        Ok(Self {
            id: FileId::from_uuid(row.id),
            sha256: sha256.map_err(|_| Error::bad_row("files", "sha256", row.id, "no SHA-256"))?,
            content_type: row.content_type,
            size_bytes: at.integer("size_bytes", row.size_bytes)?,
            width: at.integer("width", row.width)?,
            height: at.integer("height", row.height)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }
}

impl Store {
    /// How long a file is kept after it was last used, in seconds.
    pub const KEEP_FILE_SECONDS: f64 = 30.0 * 24.0 * 3600.0;

    /// Most files of a tenant.
    pub const MAX_FILES: i64 = 10_000;

    /// Records a file, or finds the tenant's file with the same content, which then has another id and is kept for as
    /// long as a new one. `None` when it is new and the tenant has [`Self::MAX_FILES`]; those that are recorded at the
    /// same moment may be more.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn record_file(&self, new: &NewFile) -> Result<Option<File>, Error> {
        let row = sqlx::query_as!(
            FileRow,
            "insert into files (id, tenant_id, sha256, content_type, size_bytes, width, height, expires_at)
             select $1, $2, $3, $4, $5, $6, $7, now() + $8 * interval '1 second'
             where exists (select from files where tenant_id = $2 and sha256 = $3 and deleted_at is null)
                or (select count(*) from files where tenant_id = $2 and deleted_at is null) < $9
             on conflict (tenant_id, sha256) where deleted_at is null do update set expires_at = excluded.expires_at
             returning id, sha256, content_type, size_bytes, width, height, created_at, expires_at",
            new.id.as_uuid(),
            new.tenant.as_uuid(),
            &new.sha256[..],
            new.content_type,
            i64::try_from(new.size_bytes).unwrap_or(i64::MAX),
            i32::try_from(new.width).unwrap_or(i32::MAX),
            i32::try_from(new.height).unwrap_or(i32::MAX),
            Self::KEEP_FILE_SECONDS,
            Self::MAX_FILES
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(File::try_from).transpose()
    }

    /// A tenant's file; `None` when it is deleted or its time is over.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn file(&self, tenant: TenantId, id: FileId) -> Result<Option<File>, Error> {
        Ok(self.files(tenant, &[id]).await?.pop())
    }

    /// Those of a tenant's files that can be named.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn files(&self, tenant: TenantId, ids: &[FileId]) -> Result<Vec<File>, Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query_as!(
            FileRow,
            "select id, sha256, content_type, size_bytes, width, height, created_at, expires_at from files
             where id = any($1) and tenant_id = $2 and deleted_at is null and expires_at > now()",
            &uuids,
            tenant.as_uuid()
        );
        rows.fetch_all(&self.pool).await?.into_iter().map(File::try_from).collect()
    }

    /// Deletes a tenant's file. `false` when there is none. Jobs that name it go on.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn delete_file(&self, tenant: TenantId, id: FileId) -> Result<bool, Error> {
        let deleted = sqlx::query!(
            "update files set deleted_at = now()
             where id = $1 and tenant_id = $2 and deleted_at is null and expires_at > now()",
            id.as_uuid(),
            tenant.as_uuid()
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected() > 0)
    }

    /// Deletes files whose time is over. One that is used at the same moment stays.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn expire_files(&self) -> Result<u64, Error> {
        let expired = sqlx::query!(
            "update files set deleted_at = now() where deleted_at is null and expires_at <= now()"
        );
        Ok(expired.execute(&self.pool).await?.rows_affected())
    }

    /// Deleted files that no job names.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn files_to_sweep(&self, limit: i64) -> Result<Vec<FileId>, Error> {
        let ids = sqlx::query_scalar!(
            "select id from files
             where deleted_at is not null
               and not exists (select from job_requests
                               where task #>> '{image,key}' = 'files/' || files.id
                                 and task #>> '{image,key}' like 'files/%')
             order by deleted_at limit $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(FileId::from_uuid).collect())
    }

    /// Drops the rows of files whose objects are deleted.
    ///
    /// # Errors
    /// When the database is unavailable; repeating the call is safe.
    pub async fn forget_files(&self, ids: &[FileId]) -> Result<(), Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        sqlx::query!("delete from files where id = any($1) and deleted_at is not null", &uuids)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Which of these files have a row: objects of the others belong to requests that came to nothing.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn existing_files(&self, ids: &[FileId]) -> Result<Vec<FileId>, Error> {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let found = sqlx::query_scalar!("select id from files where id = any($1)", &uuids)
            .fetch_all(&self.pool)
            .await?;
        Ok(found.into_iter().map(FileId::from_uuid).collect())
    }
}
