//! Settings of the database.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::Error;

/// How to reach Postgres.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreConfig {
    /// Connection string of the Postgres database, `postgres://user:password@host:port/database`.
    #[arg(long, env = "DATABASE_URL", value_name = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    pub database_url: SecretString,

    /// Most connections to Postgres, 2 to 1000.
    #[arg(
        long,
        env = "DARKROOM_DB_CONNECTIONS",
        value_name = "DARKROOM_DB_CONNECTIONS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(2..=1000)
    )]
    pub db_connections: u32,
}

fn database_url(text: &str) -> Result<SecretString, String> {
    let form = "expected postgres://user:password@host:port/database";
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(form.to_owned());
    }
    PgConnectOptions::from_str(text).map_err(|_| form.to_owned())?;
    Ok(text.into())
}

/// No statement of ours takes longer on a healthy database.
const STATEMENT_TIMEOUT: &str = "5s";
const LOCK_TIMEOUT: &str = "2s";
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "10s";
/// How long a call waits for a connection before it fails as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

impl StoreConfig {
    pub(crate) fn connect_options(&self, application: &str) -> Result<PgConnectOptions, Error> {
        let options = PgConnectOptions::from_str(self.database_url.expose_secret())
            .map_err(Error::from)?
            .application_name(application)
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("lock_timeout", LOCK_TIMEOUT),
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
            ]);
        Ok(options)
    }

    pub(crate) fn pool_options(&self) -> PgPoolOptions {
        PgPoolOptions::new().max_connections(self.db_connections).acquire_timeout(ACQUIRE_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_postgres_urls_are_taken() {
        assert!(database_url("postgres://u:p@127.0.0.1:5432/darkroom").is_ok());
        for text in ["", "mysql://u@h/d", "postgres://u:p@h:port/d"] {
            assert!(database_url(text).is_err(), "{text}");
        }
    }
}
