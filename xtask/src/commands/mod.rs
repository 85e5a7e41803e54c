//! The subcommands.

mod bench;
mod checks;
mod demo;
mod deny;
mod down;
mod env;
mod logs;
mod parity;
mod python_client;
mod sqlx;
mod stack;
mod status;
mod test;
mod up;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::interrupt::Interrupt;
use crate::supervisor;

/// The local stack, and everything run on it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the stack in .stack/ and the services on it
    Up(up::Arguments),
    /// Stops all that `up` started
    Down(down::Arguments),
    /// Shows what runs, where, and since how many restarts
    Status,
    /// Prints the end of the logs
    Logs(logs::Arguments),
    /// Prints shell exports: eval "$(cargo xtask env)"
    Env,
    /// Does `up`, makes a picture from a prompt and a caption from that picture
    Demo(demo::Arguments),
    /// Runs every check and every test on a stack of its own
    Test(test::Arguments),
    /// Does what `test` does, with plain output
    Ci,
    /// Checks licences, bans, sources and advisories of all dependencies, as far as there is a network
    Deny,
    /// Measures speed beside what is well known, in one run, and says what was to be reached
    Bench(bench::Arguments),
    /// Compares the models with the reference and writes the differences into docs/models.md
    Parity,
    /// Generates the client for Python from the API's document, and packs it
    PythonClient,
    /// Keeps the committed query data of crates/store in step with its queries
    #[command(subcommand)]
    Sqlx(sqlx::Command),
    /// Stacks of infrastructure alone, in any folder: for tests that break things
    #[command(subcommand, hide = true)]
    Stack(stack::Command),
    /// Runs a stack's processes; started in the background by the other commands
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        owner: Option<u32>,
    },
}

/// Runs the subcommand that was asked for.
pub(crate) fn run(arguments: Arguments, interrupt: &Interrupt) -> Result<()> {
    match arguments.command {
        Command::Up(arguments) => up::run(&arguments, interrupt),
        Command::Down(arguments) => down::run(&arguments, interrupt),
        Command::Status => status::run(),
        Command::Logs(arguments) => logs::run(&arguments, interrupt),
        Command::Env => env::run(),
        Command::Demo(arguments) => demo::run(&arguments, interrupt),
        Command::Test(arguments) => test::run(&arguments, test::Output::Lively, interrupt),
        Command::Ci => test::run(&test::Arguments::default(), test::Output::Plain, interrupt),
        Command::Deny => deny::run(interrupt),
        Command::Bench(arguments) => bench::run(&arguments, interrupt),
        Command::Parity => parity::run(interrupt),
        Command::PythonClient => python_client::run(interrupt),
        Command::Sqlx(command) => sqlx::run(command, interrupt),
        Command::Stack(command) => stack::run(command, interrupt),
        Command::Supervise { dir, owner } => supervisor::run(&dir, owner, interrupt),
    }
}
