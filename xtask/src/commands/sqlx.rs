//! `cargo xtask sqlx`.

use anyhow::Result;
use clap::Subcommand;

use super::checks::{self, Queries};
use super::test::Scratch;
use crate::interrupt::Interrupt;
use crate::progress::note;
use crate::stack::{Component, Lifetime};

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Command {
    /// Writes the query data anew: after every change of a query or a migration
    Prepare,
    /// Fails when the committed query data do not match the queries
    Check,
}

/// Runs the subcommand on a database of its own.
pub(crate) fn run(command: Command, interrupt: &Interrupt) -> Result<()> {
    let scratch = Scratch::start("sqlx", Lifetime::Throwaway, &[Component::Postgres], interrupt)?;
    let queries = Queries::begin(scratch.stack(), interrupt)?;
    queries.expand(checks::check_store()?, interrupt)?;
    match command {
        Command::Prepare => {
            let count = queries.commit()?;
            note(format!("wrote the data of {count} queries to crates/store/.sqlx"));
        }
        Command::Check => {
            queries.compare()?;
            note("crates/store/.sqlx matches the queries");
        }
    }
    Ok(())
}
