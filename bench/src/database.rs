//! Databases of a benchmark's own, migrated as in production and otherwise empty.

use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use darkroom_jobs::TenantId;
use darkroom_store::{NewApiKey, Scope, Store, StoreConfig};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use uuid::Uuid;

use crate::variable;

/// Connections of a store.
const CONNECTIONS: u32 = 32;

/// A database, dropped by [`Self::drop`].
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) store: Store,
    name: String,
}

/// A tenant, and a key of it.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) key: String,
}

impl Database {
    /// Makes the database on the server that `TEST_DATABASE_URL` names.
    pub(crate) async fn create() -> Result<Self> {
        let name = format!("bench_{}", Uuid::now_v7().simple());
        execute(&server()?, format!("create database {name}")).await?;
        // In the words of the server's own URL: what else sqlx can say of a connection, pgbench does not know.
        let url = variable("TEST_DATABASE_URL")?;
        let (server, _) = url.rsplit_once('/').context("TEST_DATABASE_URL names no database")?;
        let url = format!("{server}/{name}");
        let store = connect(&url).await?;
        store.migrate().await?;
        Ok(Self { url, store, name })
    }

    /// A further store on it, whose commits do not wait for the disk.
    pub(crate) async fn hasty_store(&self) -> Result<Store> {
        connect(&format!("{}?options=-c%20synchronous_commit=off", self.url)).await
    }

    /// Runs statements.
    pub(crate) async fn execute(&self, sql: impl Into<String>) -> Result<()> {
        execute(&PgConnectOptions::from_str(&self.url)?, sql.into()).await
    }

    /// A connection for queries of a benchmark's own.
    pub(crate) async fn connection(&self) -> Result<PgConnection> {
        Ok(PgConnectOptions::from_str(&self.url)?.connect().await?)
    }

    /// A new tenant.
    pub(crate) async fn tenant(&self, name: &str) -> Result<Tenant> {
        let tenant = Tenant {
            id: TenantId::from_uuid(Uuid::now_v7()),
            key: format!("dk_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
        };
        self.store.create_tenant(tenant.id, name).await?;
        let key = NewApiKey {
            id: Uuid::now_v7(),
            tenant: Some(tenant.id),
            name: name.to_owned(),
            prefix: tenant.key.chars().take(11).collect(),
            hash: Sha256::digest(&tenant.key).into(),
            scopes: Scope::ALL.to_vec(),
            lifetime: None,
            max_interactive: None,
        };
        self.store.create_api_key(&key).await?;
        Ok(tenant)
    }

    /// Drops it, whoever is still connected.
    pub(crate) async fn drop(self) -> Result<()> {
        self.store.close().await;
        execute(&server()?, format!("drop database {} with (force)", self.name)).await
    }
}

fn server() -> Result<PgConnectOptions> {
    let url = variable("TEST_DATABASE_URL")?;
    PgConnectOptions::from_str(&url).context("TEST_DATABASE_URL is no connection string")
}

async fn connect(url: &str) -> Result<Store> {
    let config = StoreConfig { database_url: url.into(), db_connections: CONNECTIONS, lease_seconds: 600 };
    Ok(Store::connect(&config, "darkroom-bench").await?)
}

async fn execute(options: &PgConnectOptions, sql: String) -> Result<()> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}
