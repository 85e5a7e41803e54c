//! A database of its own for every test, in which the state machine is the law.

mod guard;

use std::str::FromStr;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use crate::schema::migrator;
use crate::{Error, Store, StoreConfig};

/// A fresh, migrated database on the test server, dropped by [`TestDatabase::drop_database`].
#[derive(Debug)]
pub struct TestDatabase {
    /// Settings that lead to it.
    pub config: StoreConfig,
    /// A store on it.
    pub store: Store,
    server: PgConnectOptions,
    name: String,
}

impl TestDatabase {
    /// Makes the database on the server that `TEST_DATABASE_URL` names.
    ///
    /// # Panics
    /// When there is no such server: run tests through `cargo xtask test`.
    pub async fn create() -> Self {
        #[expect(clippy::disallowed_methods, reason = "test servers are named by the environment")]
        let url =
            std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL: run through `cargo xtask test`");
        Self::create_on(&url).await
    }

    /// Makes the database on another server.
    ///
    /// # Panics
    /// When there is no such server.
    pub async fn create_on(url: &str) -> Self {
        let server = PgConnectOptions::from_str(url).expect("the URL is a connection string");
        let name = format!("test_{}", Uuid::now_v7().simple());
        execute(&server, format!("create database {name}")).await;
        let database_url = server.clone().database(&name).to_url_lossy().to_string();
        let config = StoreConfig { database_url: database_url.into(), db_connections: 5, lease_seconds: 30 };
        let store = Store::connect(&config, "test").await.expect("the new database answers");
        store.migrate().await.expect("migrations apply");
        execute(&server.clone().database(&name), guard::guard()).await;
        Self { config, store, server, name }
    }

    /// The connection string.
    pub fn url(&self) -> &str {
        self.config.database_url.expose_secret()
    }

    /// Runs statements of a test's own: to look at rows, or to move a lease into the past.
    pub async fn execute(&self, sql: &str) -> u64 {
        let pool =
            PgPoolOptions::new().max_connections(1).connect(self.url()).await.expect("the database answers");
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&pool)
            .await
            .expect("the statement runs");
        pool.close().await;
        done.rows_affected()
    }

    /// The single integer a query of a test's own returns.
    pub async fn count(&self, sql: &str) -> i64 {
        let pool =
            PgPoolOptions::new().max_connections(1).connect(self.url()).await.expect("the database answers");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&pool).await;
        pool.close().await;
        count.expect("the query returns one integer")
    }

    /// Drops the database, whoever is still connected.
    pub async fn drop_database(self) {
        self.store.close().await;
        execute(&self.server, format!("drop database {} with (force)", self.name)).await;
    }
}

async fn execute(server: &PgConnectOptions, sql: String) {
    let mut connection = PgConnection::connect_with(server).await.expect("the test server answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.expect("the statement runs");
    connection.close().await.expect("the connection closes");
}

/// The versions of all migrations, in their order.
pub fn migration_versions() -> Vec<i64> {
    let migrator = migrator();
    let up = migrator.iter().filter(|migration| migration.migration_type.is_up_migration());
    up.map(|migration| migration.version).collect()
}

impl Store {
    /// Applies the migrations up to `version`, and none after it.
    ///
    /// # Errors
    /// [`Error::Migrate`] when a step up fails.
    pub async fn migrate_to(&self, version: i64) -> Result<(), Error> {
        let mut connection = self.pool.take().await?;
        migrator().run_to(version, &mut connection).await.map_err(Error::Migrate)
    }

    /// Takes back every migration after `version`.
    ///
    /// # Errors
    /// [`Error::Migrate`] when a step down fails.
    pub async fn undo_migrations(&self, version: i64) -> Result<(), Error> {
        let mut connection = self.pool.take().await?;
        migrator().undo(&mut connection, version).await.map_err(Error::Migrate)
    }
}
