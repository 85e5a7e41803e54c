//! `cargo xtask up`.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::interrupt::Interrupt;
use crate::progress::{Step, note};
use crate::stack::{Component, Lifetime, Stack, State, environment, files, lifecycle, services};
use crate::workspace;

/// The command line's binary.
pub(crate) const COMMAND_LINE: &str = "darkroom";

/// The tenant that `up` makes, and its key's name.
const LOCAL: &str = "local";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Start the database, the broker and the object store, and no services
    #[arg(long)]
    infra_only: bool,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    let (stack, started) = if arguments.infra_only {
        infrastructure(interrupt)?
    } else {
        let local = all(interrupt)?;
        (local.stack, local.started)
    };
    if started.is_empty() {
        note("everything was running already");
    }
    if !arguments.infra_only {
        note(format!("\nthe API answers at {}", environment::api_url(&stack.state()?)));
        note("its address and a key for your shell:  eval \"$(cargo xtask env)\"");
    }
    note("what runs: cargo xtask status    logs: cargo xtask logs    stop: cargo xtask down");
    Ok(())
}

/// A stack with everything up.
pub(crate) struct Local {
    pub(crate) stack: Stack,
    /// What did not run before.
    pub(crate) started: Vec<Component>,
    /// The program `darkroom`.
    pub(crate) command_line: PathBuf,
}

/// Brings everything up.
pub(crate) fn all(interrupt: &Interrupt) -> Result<Local> {
    let (stack, mut started) = infrastructure(interrupt)?;
    let _lock = stack.lock_commands(interrupt)?;
    let command_line = build(&stack, interrupt)?;
    migrate(&stack)?;
    make_key(&stack)?;
    started.extend(lifecycle::start(&stack, &Component::SERVICES, None, interrupt)?);
    Ok(Local { stack, started, command_line })
}

fn infrastructure(interrupt: &Interrupt) -> Result<(Stack, Vec<Component>)> {
    let dir = workspace::stack_dir()?;
    lifecycle::install(&dir.join("log"), &Component::INFRASTRUCTURE, interrupt)?;
    let stack = Stack::create(&dir, Lifetime::Kept)?;
    let _lock = stack.lock_commands(interrupt)?;
    let started = lifecycle::start(&stack, &Component::INFRASTRUCTURE, None, interrupt)?;
    Ok((stack, started))
}

/// Builds the services and returns where the command line lies. Cargo shows its own progress.
fn build(stack: &Stack, interrupt: &Interrupt) -> Result<PathBuf> {
    note("building the services");
    let mut built = workspace::build_binaries(interrupt)?;
    let command_line = built.remove(COMMAND_LINE).context("the build made no command line")?;
    stack.update(|state| {
        for service in Component::SERVICES {
            let name = services::binary_name(service);
            let path = built.get(&name).with_context(|| format!("the build made no binary {name}"))?;
            state.binaries.insert(service, path.clone());
        }
        Ok(())
    })?;
    Ok(command_line)
}

fn migrate(stack: &Stack) -> Result<()> {
    let step = Step::begin("migrating the database");
    let mut command = services::binary(Component::Api, stack, &stack.state()?)?;
    command.arg("migrate");
    output_of(stack, command)?;
    step.done("the database is migrated");
    Ok(())
}

/// Makes the tenant and its key once. The key is shown by nobody but `cargo xtask env`.
fn make_key(stack: &Stack) -> Result<()> {
    let state = stack.state()?;
    if state.api_key.is_some() {
        return Ok(());
    }
    let step = Step::begin("making an API key");
    // The tenant is there already when an earlier run ended between the two.
    let tenant = admin(stack, &state, &["tenants", "create", LOCAL]);
    let key = admin(stack, &state, &["api-keys", "create", "--tenant", LOCAL, "--name", LOCAL]);
    let key = match (tenant, key) {
        (_, Ok(key)) => key,
        (Err(error), Err(_)) | (Ok(_), Err(error)) => return Err(error),
    };
    stack.update(|state| {
        state.api_key = Some(key);
        Ok(())
    })?;
    step.done("made an API key");
    Ok(())
}

fn admin(stack: &Stack, state: &State, arguments: &[&str]) -> Result<String> {
    let mut command = services::binary(Component::Api, stack, state)?;
    command.args(arguments);
    output_of(stack, command)
}

/// Runs `command` and returns its stdout; its stderr goes to a log.
fn output_of(stack: &Stack, mut command: Command) -> Result<String> {
    let log = stack.log_file("setup");
    let file = OpenOptions::new().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("failed to open {}", log.display()))?;
    let output = command.stdin(Stdio::null()).stderr(file).output();
    let output = output.with_context(|| format!("failed to run {command:?}"))?;
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!(
            "`{} {}` failed ({}):\n{}\nread {}",
            command.get_program().to_string_lossy(),
            arguments.join(" "),
            output.status,
            files::last_lines(&log, 15),
            log.display()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
