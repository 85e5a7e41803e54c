//! `cargo xtask parity`: the table of `docs/models.md`, from what the tests measure.

use anyhow::{Result, bail};

use crate::interrupt::Interrupt;
use crate::measured::Measured;
use crate::workspace;

/// Runs the comparisons with the reference and writes what they measure into the document.
pub(crate) fn run(interrupt: &Interrupt) -> Result<()> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["test", "-p", "darkroom-models", "--test", "it", "--", "--nocapture"]);
    let mut measured = Measured::parity();
    let status = workspace::run(cargo, interrupt, |line| measured.take(line))?;
    if !status.success() {
        bail!("the tests of darkroom-models failed: nothing was written");
    }
    measured.write()
}
