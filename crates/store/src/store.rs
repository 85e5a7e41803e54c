//! The handle every other module adds its statements to.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::accept::together::Gathering;
use crate::changes::Pending;
use crate::pool::{ACQUIRE_TIMEOUT, Pool};
use crate::{Error, StoreConfig};

const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of connections to the database, shared by cloning.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pool: Pool,
    pub(crate) pending: Arc<Pending>,
    pub(crate) gathering: Arc<Gathering>,
    pub(crate) lease: Duration,
}

impl Store {
    /// Opens the pool. `application` shows up in `pg_stat_activity`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no connection can be made, [`Error::Login`] when it is refused.
    pub async fn connect(config: &StoreConfig, application: &str) -> Result<Self, Error> {
        let options = config.connect_options(application)?;
        // A pool that cannot connect says no more than that it ran out of time.
        let probe = tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect());
        probe.await.map_err(|_| sqlx::Error::PoolTimedOut)??.close().await?;
        let pool = Pool::new(options, config.pooled_connections());
        let lease = Duration::from_secs(config.lease_seconds);
        Ok(Self { pool, pending: Arc::default(), gathering: Arc::default(), lease })
    }

    /// How long a lease lasts without a heartbeat.
    pub fn lease_length(&self) -> Duration {
        self.lease
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query_scalar!(r#"select 1 as "one!""#).fetch_one(&self.pool).await?;
        Ok(())
    }

    /// The time on the database's clock, the only one that leases and retention go by.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not answer.
    pub async fn now(&self) -> Result<DateTime<Utc>, Error> {
        Ok(sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&self.pool).await?)
    }

    /// Closes every connection, and waits for those in use, but not for ever.
    pub async fn close(&self) {
        if tokio::time::timeout(CLOSE_TIMEOUT, self.pool.close()).await.is_err() {
            tracing::warn!("connections to the database are still in use while closing");
        }
    }
}
