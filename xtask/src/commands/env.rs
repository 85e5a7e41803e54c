//! `cargo xtask env`.

use anyhow::{Context as _, Result};

use crate::progress::{note, print};
use crate::stack::{Stack, environment, lifecycle};
use crate::workspace;

/// Runs the subcommand. The values are made of characters that need no quoting, and are quoted all the same.
pub(crate) fn run() -> Result<()> {
    let stack =
        Stack::find(&workspace::stack_dir()?)?.context("there is no stack yet: run `cargo xtask up`")?;
    if !lifecycle::is_supervised(&stack)? {
        note("the stack does not run: `cargo xtask up` starts it and may give it other ports");
    }
    for (name, value) in environment::exports(&stack.state()?) {
        print(format!("export {name}='{value}'"))?;
    }
    Ok(())
}
