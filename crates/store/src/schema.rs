//! Migrations, and which schema this program runs on.

use sqlx::Connection as _;
use sqlx::migrate::Migrator;

use crate::{Error, Store};

/// The oldest schema this program runs on. Newer ones are fine: changes expand first and contract later.
pub const MINIMUM_SCHEMA: i64 = 16;

pub(crate) fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../../migrations");
    // A newer release may have migrated further already.
    migrator.set_ignore_missing(true);
    migrator
}

impl Store {
    /// Applies every migration that is not applied yet and returns the schema's version. Concurrent calls wait
    /// for one another (sqlx takes an advisory lock).
    ///
    /// # Errors
    /// [`Error::Migrate`] when a migration fails; the ones before it stay applied.
    pub async fn migrate(&self) -> Result<i64, Error> {
        let mut connection = self.pool.take().await?;
        // A migration may rewrite a large table, and waits for others to finish theirs.
        sqlx::query(
            "select set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)",
        )
        .execute(&mut connection)
        .await?;
        migrator().run(&mut connection).await.map_err(Error::Migrate)?;
        connection.close().await?;
        self.schema_version().await
    }

    /// Refuses a schema older than [`MINIMUM_SCHEMA`].
    ///
    /// # Errors
    /// [`Error::SchemaTooOld`], or [`Error::Unavailable`].
    pub async fn check_schema(&self) -> Result<(), Error> {
        let found = self.schema_version().await?;
        if found < MINIMUM_SCHEMA {
            return Err(Error::SchemaTooOld { found, minimum: MINIMUM_SCHEMA });
        }
        Ok(())
    }

    /// Version of the newest migration that was applied, 0 for none. Not checked at compile time: the table is
    /// sqlx's own.
    async fn schema_version(&self) -> Result<i64, Error> {
        let exists: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
            .fetch_one(&self.pool)
            .await?;
        if !exists {
            return Ok(0);
        }
        Ok(sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations where success")
            .fetch_one(&self.pool)
            .await?)
    }
}
