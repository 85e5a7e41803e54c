//! `cargo xtask stack`: infrastructure without services, in any folder.
//!
//! The end-to-end tests use it to get a broker of their own that they may stop and wipe.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::interrupt::Interrupt;
use crate::progress::{note, print};
use crate::stack::{Component, Lifetime, Stack, environment, lifecycle, rabbitmq};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts the servers and prints their connection strings, one `NAME=value` a line
    Start {
        #[command(flatten)]
        target: Target,
        /// End the stack when the process with this id ends
        #[arg(long)]
        owner: Option<u32>,
    },
    /// Stops the servers and keeps their data
    Stop {
        #[command(flatten)]
        target: Target,
    },
    /// Prints the connection strings, one `NAME=value` a line
    Env {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Stops the broker, deletes everything it knows and leaves it stopped
    WipeBroker {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Runs rabbitmqctl on the broker
    Rabbitmqctl {
        #[arg(long)]
        dir: PathBuf,
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Stops everything and deletes the folder
    Delete {
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The stack's folder
    #[arg(long)]
    dir: PathBuf,
    /// Only these servers, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<Component>,
}

impl Target {
    fn components(&self) -> Result<Vec<Component>> {
        if let Some(service) = self.only.iter().find(|it| Component::SERVICES.contains(it)) {
            bail!("{} is a service: tests start services themselves", service.name());
        }
        Ok(if self.only.is_empty() { Component::INFRASTRUCTURE.to_vec() } else { self.only.clone() })
    }
}

/// Runs the subcommand.
pub(crate) fn run(command: Command, interrupt: &Interrupt) -> Result<()> {
    match command {
        Command::Start { target, owner } => start(&target, owner, interrupt),
        Command::Stop { target } => {
            let stack = find(&target.dir)?;
            let _lock = stack.lock_commands(interrupt)?;
            if target.only.is_empty() {
                return lifecycle::shut_down(&stack).map(drop);
            }
            lifecycle::stop(&stack, &target.components()?, interrupt)
        }
        Command::Env { dir } => print_connections(&find(&dir)?),
        Command::WipeBroker { dir } => {
            let stack = find(&dir)?;
            let _lock = stack.lock_commands(interrupt)?;
            lifecycle::stop(&stack, &[Component::Rabbitmq], interrupt)?;
            rabbitmq::wipe(&stack)?;
            note("wiped the broker");
            Ok(())
        }
        Command::Rabbitmqctl { dir, arguments } => {
            let stack = find(&dir)?;
            let mut control = rabbitmq::control(&stack, &stack.state()?)?;
            let status = control.args(&arguments).status().context("failed to run rabbitmqctl")?;
            if !status.success() {
                bail!("rabbitmqctl {} failed ({status})", arguments.join(" "));
            }
            Ok(())
        }
        Command::Delete { dir } => {
            let stack = Stack::find_to_end(&dir)?;
            let stack = stack.with_context(|| format!("there is no stack in {}", dir.display()))?;
            let _lock = stack.lock_commands(interrupt)?;
            lifecycle::shut_down(&stack)?;
            stack.delete()
        }
    }
}

fn start(target: &Target, owner: Option<u32>, interrupt: &Interrupt) -> Result<()> {
    let components = target.components()?;
    lifecycle::install(&target.dir.join("log"), &components, interrupt)?;
    let lifetime = if owner.is_some() { Lifetime::Throwaway } else { Lifetime::Kept };
    let stack = Stack::create(&target.dir, lifetime)?;
    let _lock = stack.lock_commands(interrupt)?;
    let started = lifecycle::start(&stack, &components, owner, interrupt)?;
    if started.is_empty() {
        note("everything runs already");
    }
    print_connections(&stack)
}

fn print_connections(stack: &Stack) -> Result<()> {
    for (name, value) in environment::connections(&stack.state()?) {
        print(format!("{name}={value}"))?;
    }
    Ok(())
}

fn find(dir: &std::path::Path) -> Result<Stack> {
    Stack::find(dir)?.with_context(|| format!("there is no stack in {}", dir.display()))
}
