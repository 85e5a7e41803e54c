//! Settings of the database.

use std::ffi::OsStr;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::Error;

/// How to reach Postgres.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreConfig {
    /// Connection string of the Postgres database, `postgres://user:password@host:port/database`.
    #[arg(long, env = "DATABASE_URL", value_name = "DATABASE_URL", hide_env_values = true, value_parser = DatabaseUrl)]
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

    /// Seconds a worker may be silent before its jobs are taken back, 1 to 600. The same for every worker and
    /// dispatcher.
    #[arg(
        long,
        env = "DARKROOM_LEASE_SECONDS",
        value_name = "DARKROOM_LEASE_SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=600)
    )]
    pub lease_seconds: u64,
}

/// Not a plain function, because clap then repeats the refused value, and this one holds a password.
#[derive(Clone)]
struct DatabaseUrl;

impl TypedValueParser for DatabaseUrl {
    type Value = SecretString;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<SecretString, clap::Error> {
        let text = value.to_str().filter(|text| is_postgres_url(text));
        let text = text.ok_or_else(|| {
            let refusal = "invalid DATABASE_URL, expected postgres://user:password@host:port/database";
            command.clone().error(ErrorKind::ValueValidation, refusal)
        })?;
        Ok(SecretString::from(text))
    }
}

fn is_postgres_url(text: &str) -> bool {
    let scheme = text.starts_with("postgres://") || text.starts_with("postgresql://");
    scheme && PgConnectOptions::from_str(text).is_ok()
}

/// No statement of ours takes longer on a healthy database.
const STATEMENT_TIMEOUT: &str = "5s";
const LOCK_TIMEOUT: &str = "2s";
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "10s";

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

    /// Host and port of the database, for messages.
    pub fn address(&self) -> String {
        let options = PgConnectOptions::from_str(self.database_url.expose_secret()).unwrap_or_default();
        format!("{}:{}", options.get_host(), options.get_port())
    }

    /// How many connections the pool may have: one is for announcements.
    pub(crate) fn pooled_connections(&self) -> usize {
        usize::try_from(self.db_connections).unwrap_or(usize::MAX).saturating_sub(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Settings {
        #[command(flatten)]
        store: StoreConfig,
    }

    fn parse(url: &str) -> Result<Settings, clap::Error> {
        <Settings as clap::Parser>::try_parse_from(["service", "--database-url", url])
    }

    #[test]
    fn only_postgres_urls_are_taken_and_a_refused_one_is_not_repeated() {
        assert!(parse("postgres://u:p@127.0.0.1:5432/darkroom").is_ok());
        for url in ["", "mysql://u:hunter2@h/d", "postgres://u:hunter2@h:port/d"] {
            let refusal = parse(url).unwrap_err().to_string();
            assert!(refusal.contains("DATABASE_URL") && refusal.contains("postgres://"), "{refusal}");
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }
}
