//! What the program does, by subcommand.

mod api_keys;
mod migrate;
mod serve;
mod tenants;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use darkroom_ops::Health;
use darkroom_store::{Store, StoreConfig};

use crate::api;
use crate::config::ServeConfig;

/// The program's name in logs and in the database's list of sessions.
const NAME: &str = "darkroom-api";

/// The HTTP service of Darkroom.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests until asked to stop.
    Serve(Box<ServeConfig>),
    /// Ask the service that runs here whether it is ready, and exit with success if it is.
    Health(Health),
    /// Bring the database to the newest schema, and make the bucket where storage is configured.
    Migrate(Box<migrate::Migrate>),
    /// Owners of keys and jobs.
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// Keys for the API.
    #[command(subcommand)]
    ApiKeys(api_keys::ApiKeys),
    /// Print the API's OpenAPI document, which the service has at `/openapi.json`.
    Openapi,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Serve(config) => {
                let ops = config.ops.clone();
                return darkroom_ops::run(NAME, &ops, async |context| serve::serve(*config, context).await);
            }
            Command::Health(health) => return health.run(),
            Command::Migrate(command) => block_on(command.run()),
            Command::Tenants(command) => block_on(command.run()),
            Command::ApiKeys(command) => block_on(command.run()),
            Command::Openapi => describe(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever read the list has seen enough.
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn describe() -> anyhow::Result<()> {
    say(api::document().to_pretty_json().context("failed to write the document as JSON")?)
}

#[expect(clippy::print_stderr, reason = "the answer to the operator who called")]
fn complain(error: &anyhow::Error) {
    eprintln!("{NAME}: {error:#}");
}

/// The store, whatever its schema.
async fn connect_to(config: &StoreConfig) -> anyhow::Result<Store> {
    let connected = Store::connect(config, NAME).await;
    connected.with_context(|| format!("failed to connect to DATABASE_URL at {}", config.address()))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a line of a command's result.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    written.context("failed to write the answer")
}
