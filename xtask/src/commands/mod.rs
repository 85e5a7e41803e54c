//! The subcommands.

mod stack;

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
        Command::Stack(command) => stack::run(command, interrupt),
        Command::Supervise { dir, owner } => supervisor::run(&dir, owner, interrupt),
    }
}
