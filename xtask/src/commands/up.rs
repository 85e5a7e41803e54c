//! `cargo xtask up`.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use clap::Args;

use crate::interrupt::Interrupt;
use crate::progress::{Step, note};
use crate::stack::{Component, Lifetime, Stack, environment, files, lifecycle, services};
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
    bring_up(arguments, interrupt).map_err(|error| say_what_goes_on(error, interrupt))
}

/// Adds to the error of an interrupted command what it started, which goes on.
pub(crate) fn say_what_goes_on(error: Error, interrupt: &Interrupt) -> Error {
    let stack = workspace::stack_dir().and_then(|dir| Stack::find(&dir));
    let Ok(Some(stack)) = stack else { return error };
    let running = lifecycle::supervised(&stack).unwrap_or_default();
    if !interrupt.is_set() || running.is_empty() {
        return error;
    }
    let names: Vec<&str> = running.into_iter().map(Component::name).collect();
    let (names, dir) = (names.join(", "), stack.dir().display());
    anyhow!("{error:#}\nwhat was started in {dir} goes on: {names}\n`cargo xtask down` stops it")
}

fn bring_up(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    let before = match Stack::find(&workspace::stack_dir()?)? {
        Some(stack) => Some(stack.state()?),
        None => None,
    };
    let (stack, started) = if arguments.infra_only {
        infrastructure(interrupt)?
    } else {
        let local = all(interrupt)?;
        (local.stack, local.started)
    };
    if started.is_empty() {
        note("everything was running already");
    }
    let state = stack.state()?;
    if !arguments.infra_only {
        note(format!("\nthe API answers at {}", environment::api_url(&state)));
        note("its address and a key for your shell:  eval \"$(cargo xtask env)\"");
    }
    let changed = before.map(|before| environment::changed(&before, &state)).unwrap_or_default();
    if !changed.is_empty() {
        note(format!(
            "others have taken ports since, so these changed:  {}\n\
             in each shell that has them:  eval \"$(cargo xtask env)\"",
            changed.join(" ")
        ));
    }
    note(format!("the stack lies in {}", stack.dir().display()));
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
    migrate(&stack, interrupt)?;
    make_keys(&stack, interrupt)?;
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

fn migrate(stack: &Stack, interrupt: &Interrupt) -> Result<()> {
    let step = Step::begin("migrating the database");
    let mut command = services::binary(Component::Api, stack, &stack.state()?)?;
    command.arg("migrate");
    output_of(stack, command, interrupt)?;
    step.done("the database is migrated");
    Ok(())
}

/// Makes the tenant and its key, and an operator's key, once. They are shown by nobody but `cargo xtask env`.
fn make_keys(stack: &Stack, interrupt: &Interrupt) -> Result<()> {
    make_key(stack, interrupt)?;
    if stack.state()?.operator_key.is_none() {
        let key = admin(stack, &["api-keys", "create", "--operator", "--name", LOCAL], interrupt)?;
        stack.update(|state| {
            state.operator_key = Some(key);
            Ok(())
        })?;
    }
    Ok(())
}

fn make_key(stack: &Stack, interrupt: &Interrupt) -> Result<()> {
    if stack.state()?.api_key.is_some() {
        return Ok(());
    }
    let step = Step::begin("making an API key");
    // The tenant is there already when an earlier run ended between the two.
    let tenant = admin(stack, &["tenants", "create", LOCAL], interrupt);
    let key = admin(stack, &["api-keys", "create", "--tenant", LOCAL, "--name", LOCAL], interrupt);
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

fn admin(stack: &Stack, arguments: &[&str], interrupt: &Interrupt) -> Result<String> {
    let mut command = services::binary(Component::Api, stack, &stack.state()?)?;
    command.args(arguments);
    output_of(stack, command, interrupt)
}

/// Runs `command` and returns its stdout; its stderr goes to a log.
fn output_of(stack: &Stack, mut command: Command, interrupt: &Interrupt) -> Result<String> {
    let log = stack.log_file("setup");
    let file = OpenOptions::new().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("failed to open {}", log.display()))?;
    let output = command.stdin(Stdio::null()).stderr(file).output();
    let output = output.with_context(|| format!("failed to run {command:?}"))?;
    interrupt.check()?;
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
