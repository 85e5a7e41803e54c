//! `cargo xtask test`: every check and every test, on a stack made for this run.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::checks::Queries;
use super::python_client::{self, Made};
use super::{deny, down};
use crate::interrupt::Interrupt;
use crate::measured::Measured;
use crate::programs::apt::{self, Package};
use crate::programs::{self, CLIENTS, NODE_CLIENTS, SCHEMATHESIS};
use crate::progress::{Step, note, print, seconds};
use crate::stack::files::{self, Lock};
use crate::stack::{Component, Lifetime, Stack, environment, lifecycle};
use crate::workspace;

/// How long a lease lasts, with a little on top.
const LEASE: Duration = Duration::from_secs(31);

#[derive(Debug, Default, Args)]
pub(crate) struct Arguments {
    /// Run only tests whose name contains one of these, and skip formatting, lints and query data; `faults` are
    /// those that break things
    filters: Vec<String>,
    /// Repeat what the fault tests drew from this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run each fault test so many times, with random timing and outages of full length
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    long: Option<u32>,
    /// Write what the fault tests saw into docs/operations.md
    #[arg(long)]
    record: bool,
    /// Arguments for cargo test, such as `-p darkroom-store`; after a second `--`, for the test binaries
    #[arg(last = true)]
    cargo: Vec<String>,
}

impl Arguments {
    fn is_everything(&self) -> bool {
        self.filters.is_empty() && self.cargo.is_empty()
    }

    /// The arguments for cargo and those for the test binaries.
    fn parts(&self) -> (&[String], &[String]) {
        let mut parts = self.cargo.splitn(2, |argument| argument == "--");
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }

    fn names_packages(&self) -> bool {
        self.parts().0.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
    }

    /// The end-to-end tests start the services' binaries, which cargo does not know.
    fn needs_services(&self) -> bool {
        !self.names_packages() || self.cargo.iter().any(|argument| argument.contains("e2e"))
    }
}

/// Who reads what a run prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// A person at a terminal.
    Lively,
    /// A log.
    Plain,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments, output: Output, interrupt: &Interrupt) -> Result<()> {
    let started = Instant::now();
    let mut run = Run { output, interrupt, failed: Vec::new(), tally: Tally::default() };
    if arguments.is_everything() {
        run.step("formatting", |run| run.cargo(&["fmt", "--all", "--check"]))?;
        run.step("dependencies", |run| deny::run(run.interrupt))?;
    }
    let mut scratch = Scratch::start("test", Lifetime::Throwaway, &Component::INFRASTRUCTURE, interrupt)?;
    if arguments.is_everything() {
        run.step("lints and queries", |run| run.lint(scratch.stack()))?;
    }
    if arguments.needs_services() {
        // All targets at once: the tests want the same, and so no dependency is built in two variants.
        run.step("build", |run| run.cargo(&["build", "--workspace", "--all-targets"]))?;
    }
    scratch.age(interrupt)?;
    run.step("tests", |run| run.test(arguments, scratch.stack()))?;
    if !run.failed.is_empty() {
        scratch.keep_logs()?;
    }
    drop(scratch);
    note(format!("all of it took {}", seconds(started.elapsed())));
    let printed = print(format!("{} passed, {} failed", run.tally.passed, run.tally.failed));
    if run.failed.is_empty() { printed } else { bail!("failed: {}", run.failed.join(", ")) }
}

/// One run of the steps.
struct Run<'a> {
    output: Output,
    interrupt: &'a Interrupt,
    failed: Vec<&'static str>,
    tally: Tally,
}

impl Run<'_> {
    /// Runs one step and says how long it took. A failed one is remembered, and the next are run all the same.
    fn step(&mut self, name: &'static str, body: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        note(format!("== {name}"));
        let started = Instant::now();
        let outcome = body(self);
        self.interrupt.check()?;
        let word = match outcome {
            Ok(()) => "ok",
            Err(error) => {
                note(format!("{error:#}"));
                self.failed.push(name);
                "FAILED"
            }
        };
        note(format!("== {name}: {word} ({})", seconds(started.elapsed())));
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut cargo = workspace::cargo()?;
        cargo.args(arguments);
        if self.output == Output::Plain {
            cargo.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never");
        }
        Ok(cargo)
    }

    fn cargo(&self, arguments: &[&str]) -> Result<()> {
        let status = workspace::run_aloud(self.command(arguments)?, self.interrupt)?;
        if !status.success() {
            bail!("cargo {} failed ({status})", arguments.join(" "));
        }
        Ok(())
    }

    /// Lints with each query checked against a live database on the way, which saves a build.
    fn lint(&self, stack: &Stack) -> Result<()> {
        let queries = Queries::begin(stack, self.interrupt)?;
        let clippy = self.command(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
        queries.expand(clippy, self.interrupt)?;
        queries.compare()
    }

    fn test(&mut self, arguments: &Arguments, stack: &Stack) -> Result<()> {
        let mut cargo = self.command(&["test", "--no-fail-fast"])?;
        let (for_cargo, for_binaries) = arguments.parts();
        if !arguments.names_packages() {
            cargo.arg("--workspace");
        }
        cargo.args(for_cargo).arg("--").args(&arguments.filters).args(for_binaries);
        if arguments.record {
            // What tests that pass have printed is else kept back.
            cargo.arg("--nocapture");
        }
        cargo.envs(environment::test_connections(&stack.state()?));
        cargo.env("DARKROOM_TEST_STACK", stack.dir());
        cargo.env("XTASK_BIN", own_copy(stack)?);
        apt::ensure(&[Package::Faketime], &stack.log_dir().join("install.log"), self.interrupt)?;
        if arguments.needs_services() {
            let log = stack.log_dir().join("install.log");
            cargo.env("TEST_SCHEMATHESIS", SCHEMATHESIS.ensure(&log, self.interrupt)?);
            let Made { python, wheel } = python_client::make(self.interrupt)?;
            cargo.env("TEST_PYTHON", python).env("TEST_PYTHON_CLIENT", wheel);
            cargo.env("TEST_CLIENTS", CLIENTS.ensure(&log, self.interrupt)?);
            let node = NODE_CLIENTS.ensure(&log, self.interrupt)?;
            cargo.envs(node.map(|packages| ("TEST_NODE_CLIENTS", packages)));
        }
        cargo.envs(programs::faketime().map(|library| ("TEST_FAKETIME", library)));
        cargo.envs(arguments.seed.map(|seed| ("DARKROOM_FAULT_SEED", seed.to_string())));
        cargo.envs(arguments.long.map(|rounds| ("DARKROOM_FAULT_ROUNDS", rounds.to_string())));
        let mut faults = Measured::faults();
        let status = workspace::run(cargo, self.interrupt, |line| {
            let _ = print(line);
            self.tally.add(line);
            faults.take(line);
        })?;
        if !status.success() {
            bail!("cargo test failed ({status})");
        }
        if self.tally.passed == 0 {
            bail!("no test was run");
        }
        if arguments.record { faults.write() } else { Ok(()) }
    }
}

/// A copy of this program for the tests: cargo may replace the original while they run.
fn own_copy(stack: &Stack) -> Result<PathBuf> {
    let copy = stack.dir().join("xtask");
    std::fs::copy(workspace::own_program(), &copy).context("failed to copy this program")?;
    Ok(copy)
}

/// What the test binaries said in their closing lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Takes note of a closing line, such as `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse::<u64>().unwrap_or_default(),
                Some((number, "failed")) => self.failed += number.parse::<u64>().unwrap_or_default(),
                _ => {}
            }
        }
    }
}

/// A stack for one command, ended and deleted with it, whatever becomes of the command.
pub(crate) struct Scratch {
    stack: Stack,
    started: Instant,
    lock: Option<Lock>,
}

impl Scratch {
    /// Starts `components` in a folder named after `purpose` and this process.
    pub(crate) fn start(
        purpose: &str,
        lifetime: Lifetime,
        components: &[Component],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let own = std::process::id();
        let dir = workspace::stack_dir()?;
        lifecycle::install(&dir.join("log"), components, interrupt)?;
        down::remove_abandoned(&dir)?;
        let stack = Stack::create(&dir.join(format!("{purpose}-{own}")), lifetime)?;
        // Held for as long as the stack is in use: others tell by it that it is not abandoned.
        let lock = Some(stack.lock_commands(interrupt)?);
        let mut scratch = Self { stack, started: Instant::now(), lock };
        lifecycle::start(&scratch.stack, components, Some(own), interrupt)?;
        scratch.started = Instant::now();
        Ok(scratch)
    }

    /// The stack.
    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Waits until the database has been up for longer than a lease: until then nothing is reaped. Only a run
    /// that had nothing to build gets here so early.
    fn age(&self, interrupt: &Interrupt) -> Result<()> {
        let missing = LEASE.saturating_sub(self.started.elapsed());
        if !missing.is_zero() {
            let mut step = Step::begin("letting the database grow older than a lease");
            let old_enough = || Ok((self.started.elapsed() >= LEASE).then_some(()));
            step.wait(missing + LEASE, interrupt, old_enough)?;
            step.done("the database is older than a lease");
        }
        Ok(())
    }

    /// Sets the servers' logs aside, for whoever looks into a failure.
    fn keep_logs(&mut self) -> Result<()> {
        let kept = workspace::stack_dir()?.join("failed-test-log");
        files::remove_dir(&kept)?;
        files::create_dir(&kept)?;
        for entry in std::fs::read_dir(self.stack.log_dir())?.flatten() {
            std::fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
        note(format!("the logs of the test stack are in {}", kept.display()));
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = down::dispose(&self.stack) {
            note(format!("warning: failed to remove {}: {error:#}", self.stack.dir().display()));
        }
        drop(self.lock.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Arguments {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        <Line as clap::Parser>::parse_from([&["test"], arguments].concat()).arguments
    }

    #[test]
    fn arguments_are_for_cargo_then_for_the_binaries() {
        let arguments = parse(&["lease", "--", "-p", "darkroom-store", "--", "--nocapture"]);
        assert_eq!(arguments.filters, ["lease"]);
        assert_eq!(arguments.parts().0, ["-p", "darkroom-store"]);
        assert_eq!(arguments.parts().1, ["--nocapture"]);
        assert!(!arguments.needs_services());
        assert!(!arguments.is_everything());
    }

    #[test]
    fn end_to_end_tests_get_the_services_built() {
        assert!(parse(&[]).needs_services());
        assert!(parse(&["a_thousand_jobs"]).needs_services());
        assert!(parse(&["--", "-p", "darkroom-e2e"]).needs_services());
    }

    #[test]
    fn closing_lines_are_summed_and_nothing_else_is() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test says ... test result: ok. 5 passed; 0 failed",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 13, failed: 2 });
    }
}
