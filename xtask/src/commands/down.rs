//! `cargo xtask down`.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::interrupt::Interrupt;
use crate::progress::note;
use crate::stack::{Lifetime, Stack, files, lifecycle};
use crate::workspace;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Also delete all data, logs and secrets
    #[arg(long)]
    purge: bool,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    let dir = workspace::stack_dir()?;
    if let Some(stack) = Stack::find(&dir)? {
        let _lock = stack.lock_commands(interrupt)?;
        if !lifecycle::shut_down(&stack)? {
            note("nothing was running");
        }
        if arguments.purge {
            stack.delete()?;
        }
    } else {
        note("nothing was running");
    }
    if arguments.purge {
        remove_abandoned(&dir)?;
        if std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_none()) {
            files::remove_dir(&dir)?;
        }
        note("deleted its data, logs and secrets");
    }
    Ok(())
}

/// Ends and deletes the stacks in `dir` whose command is gone: a test run that was killed leaves one behind.
pub(crate) fn remove_abandoned(dir: &Path) -> Result<()> {
    for stack in Stack::nested(dir)? {
        if stack.state()?.lifetime == Lifetime::Kept || lifecycle::is_supervised(&stack)? {
            continue;
        }
        let Some(_lock) = files::Lock::try_take(&stack.command_lock())? else { continue };
        note(format!("removing what is left of {}", stack.dir().display()));
        dispose(&stack)?;
    }
    Ok(())
}

/// Ends `stack` and those made inside its folder, and deletes all of them.
pub(crate) fn dispose(stack: &Stack) -> Result<()> {
    for inner in Stack::nested(stack.dir())? {
        lifecycle::shut_down(&inner)?;
        inner.delete()?;
    }
    lifecycle::shut_down(stack)?;
    stack.delete()
}
