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
    // What is left of a stack may be without a state: a disk was full, or somebody deleted the file.
    let Some(stack) = Stack::find_to_end(&dir)?.or_else(|| Stack::at(&dir)) else {
        note(format!("there is no stack: {} does not exist", dir.display()));
        return Ok(());
    };
    let _lock = stack.lock_commands(interrupt)?;
    if !lifecycle::shut_down(&stack)? {
        note(format!("nothing was running in {}", dir.display()));
    }
    if arguments.purge {
        return purge(&stack);
    }
    if stack.is_unreadable() {
        stack.state()?;
    }
    Ok(())
}

/// Deletes all in the folder of `stack`, which does not run, but for stacks in folders inside it that are in use.
fn purge(stack: &Stack) -> Result<()> {
    remove_abandoned(stack.dir())?;
    stack.delete()?;
    note(format!("deleted the data, logs and secrets in {}", stack.dir().display()));
    for inner in Stack::nested(stack.dir())? {
        match inner.state() {
            Ok(_) => note(format!("kept {}, which is a stack of its own", inner.dir().display())),
            Err(error) => note(format!("kept {}: {error:#}", inner.dir().display())),
        }
    }
    Ok(())
}

/// Ends and deletes the stacks in `dir` whose command is gone: a test run that was killed leaves one behind.
pub(crate) fn remove_abandoned(dir: &Path) -> Result<()> {
    for stack in Stack::nested(dir)? {
        let is_throwaway = stack.state().is_ok_and(|state| state.lifetime != Lifetime::Kept);
        if !is_throwaway || lifecycle::is_supervised(&stack)? {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn purge_deletes_the_remains_of_a_stack_that_was_never_made() {
        let dir = tempfile::tempdir().unwrap();
        let remains = dir.path().join("remains");
        fs::create_dir_all(remains.join("log")).unwrap();
        fs::write(remains.join("stack.json.42.new"), "").unwrap();
        purge(&Stack::at(&remains).unwrap()).unwrap();
        assert!(!remains.exists());
    }

    #[test]
    fn unreadable_stack_names_the_way_out_and_can_be_purged() {
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join(".stack");
        Stack::create(&broken, Lifetime::Kept).unwrap();
        fs::write(broken.join("stack.json"), "{ not JSON").unwrap();
        let error = format!("{:#}", Stack::find(&broken).unwrap_err());
        assert!(error.contains("`cargo xtask down --purge`"), "{error}");

        let stack = Stack::find_to_end(&broken).unwrap().unwrap();
        assert!(!lifecycle::shut_down(&stack).unwrap());
        purge(&stack).unwrap();
        assert!(!broken.exists());
    }

    #[test]
    fn purge_spares_stacks_inside_that_are_not_throwaway() {
        let dir = tempfile::tempdir().unwrap();
        let outer = Stack::create(dir.path(), Lifetime::Kept).unwrap();
        for name in ["kept", "unreadable"] {
            Stack::create(&dir.path().join(name), Lifetime::Kept).unwrap();
        }
        Stack::create(&dir.path().join("abandoned"), Lifetime::Throwaway).unwrap();
        fs::write(dir.path().join("unreadable/stack.json"), "").unwrap();
        purge(&outer).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["kept", "unreadable"]);
    }
}
