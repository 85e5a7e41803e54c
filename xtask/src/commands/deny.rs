//! `cargo xtask deny`: what all dependencies are and where they come from, by `deny.toml`.
//!
//! A machine without a network checks what it can: not having the tool, or the advisories, fails nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::interrupt::Interrupt;
use crate::programs::{CARGO_DENY, Unreachable};
use crate::progress::note;
use crate::stack::files;
use crate::workspace;

/// Targets that the images are built for, as in `deny.toml`. Other crates need not be fetched.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
/// Longest wait for the advisories, in seconds: they are a Git repository.
const FETCH_BOUND_S: &str = "60";

/// Checks licences, bans and sources, and advisories where they can be fetched.
///
/// # Errors
///
/// When a dependency breaks a rule.
pub(crate) fn run(interrupt: &Interrupt) -> Result<()> {
    let dir = workspace::stack_dir()?;
    let log = dir.join("log");
    files::create_dir(&log)?;
    match CARGO_DENY.ensure(&log.join("install.log"), interrupt) {
        Err(error) if error.is::<Unreachable>() => {
            note(format!("NOT CHECKED, neither licences nor bans nor sources: {error}"));
            return Ok(());
        }
        other => other?,
    }
    let graph = dir.join(format!("graph-{}.json", std::process::id()));
    write_graph(&graph)?;
    let checked = check(&graph, interrupt);
    fs::remove_file(&graph)?;
    checked
}

fn check(graph: &Path, interrupt: &Interrupt) -> Result<()> {
    let mut rules = cargo_deny(graph, "--offline")?;
    rules.args(["check", "bans", "licenses", "sources"]);
    aloud(rules, interrupt).context("a dependency breaks a rule of deny.toml")?;
    if !fetch_advisories(graph)? {
        note("NOT CHECKED: advisories, since their database cannot be fetched");
        return Ok(());
    }
    let mut advisories = cargo_deny(graph, "--offline")?;
    advisories.args(["check", "advisories"]);
    aloud(advisories, interrupt).context("there is an advisory for a dependency")
}

fn cargo_deny(graph: &Path, network: &str) -> Result<Command> {
    let mut command = Command::new(CARGO_DENY.path()?);
    command.current_dir(workspace::root()?).arg("--metadata-path").arg(graph).arg(network);
    Ok(command)
}

fn aloud(command: Command, interrupt: &Interrupt) -> Result<()> {
    let status = workspace::run_aloud(command, interrupt)?;
    if !status.success() {
        bail!("cargo-deny failed ({status})");
    }
    Ok(())
}

/// Whether the database of advisories is here and new. Git has no bound of its own where packets are dropped.
fn fetch_advisories(graph: &Path) -> Result<bool> {
    let deny = cargo_deny(graph, "--locked")?;
    let mut fetch = Command::new("timeout");
    fetch.arg(FETCH_BOUND_S).arg(deny.get_program()).args(deny.get_args()).args(["fetch", "db"]);
    fetch.current_dir(workspace::root()?).env("GIT_TERMINAL_PROMPT", "0");
    let output = fetch.output().context("failed to run timeout, of coreutils")?;
    Ok(output.status.success())
}

/// All dependencies with all features, or where there is no network those that the last build has fetched.
fn write_graph(path: &Path) -> Result<()> {
    let graph = match metadata(&["--all-features"]) {
        Ok(graph) => graph,
        Err(error) => {
            note(format!("without the dependencies of optional features: {error:#}"));
            metadata(&["--offline"])?
        }
    };
    fs::write(path, graph).with_context(|| format!("failed to write {}", path.display()))
}

fn metadata(arguments: &[&str]) -> Result<Vec<u8>> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["metadata", "--format-version=1", "--locked"]).args(arguments);
    cargo.args(TARGETS.iter().flat_map(|target| ["--filter-platform", target]));
    let output = cargo.output().context("failed to run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice::<Value>(&output.stdout).context("cargo metadata printed no JSON")?;
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_settings() {
        let settings = fs::read_to_string(workspace::root().unwrap().join("deny.toml")).unwrap();
        for target in TARGETS {
            assert!(settings.contains(&format!("triple = \"{target}\"")), "{target}");
        }
        assert_eq!(settings.matches("triple = ").count(), TARGETS.len());
    }
}
