//! `cargo xtask bench`: what `darkroom-bench` measures, on a stack and with programs made for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use super::test::Scratch;
use crate::interrupt::Interrupt;
use crate::programs::{CELERY, REFERENCE, postgres_bin};
use crate::progress::note;
use crate::stack::{Component, Lifetime, environment};
use crate::workspace;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What to measure; everything unless named
    benchmarks: Vec<Benchmark>,
    /// How often each side of a comparison is measured, in turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only this case of `inference` or `shortcuts`, by its name; more than once for several
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Write what was measured into docs/performance.md
    #[arg(long)]
    record: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// Captions of BLIP-large, beside transformers on PyTorch
    Caption,
    /// Stages of SD 1.5 and SDXL, beside diffusers on PyTorch
    Inference,
    /// Where the time of a pass of a U-Net goes
    Operations,
    /// A model from disk to its first step, beside reading its files
    Cold,
    /// Operations that are left out: what that does to time and picture
    Shortcuts,
    /// What the machine can do: commits, bytes from disk, copies, multiply-adds
    Limits,
    /// Jobs without work, through everything around the work
    Jobs,
    /// How more workers add up
    Scale,
    /// What the API takes in and tells, and what those who wait cost it
    Api,
    /// What a million jobs cost the few that are asked for
    Growth,
}

impl Benchmark {
    fn name(self) -> String {
        self.to_possible_value().expect("no benchmark is hidden").get_name().to_owned()
    }

    /// Whether it runs services.
    fn needs_servers(self) -> bool {
        match self {
            Self::Caption
            | Self::Inference
            | Self::Operations
            | Self::Cold
            | Self::Shortcuts
            | Self::Limits => false,
            Self::Jobs | Self::Scale | Self::Api | Self::Growth => true,
        }
    }

    /// Whether it compares with Celery.
    fn needs_celery(self) -> bool {
        self == Self::Jobs
    }

    /// Whether it compares with PyTorch, or has it write models.
    fn needs_reference(self) -> bool {
        matches!(
            self,
            Self::Caption | Self::Inference | Self::Operations | Self::Cold | Self::Shortcuts | Self::Limits
        )
    }
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    let benchmarks =
        if arguments.benchmarks.is_empty() { Benchmark::value_variants() } else { &arguments.benchmarks };
    let binaries = workspace::build_release_binaries(interrupt)?;
    let program = binaries.get("darkroom-bench").context("the build made no darkroom-bench")?;
    let log = workspace::stack_dir()?.join("log/install.log");
    let mut variables = BTreeMap::new();
    if benchmarks.iter().any(|benchmark| benchmark.needs_reference()) {
        variables.insert("BENCH_REFERENCE".to_owned(), path(REFERENCE.ensure(&log, interrupt)?));
    }
    if benchmarks.iter().any(|benchmark| benchmark.needs_celery()) {
        variables.insert("BENCH_CELERY".to_owned(), path(CELERY.ensure(&log, interrupt)?));
    }
    let servers = benchmarks
        .iter()
        .any(|benchmark| benchmark.needs_servers())
        .then(|| Scratch::start("bench", Lifetime::Measured, &Component::INFRASTRUCTURE, interrupt))
        .transpose()?;
    if let Some(servers) = &servers {
        variables.extend(environment::test_connections(&servers.stack().state()?));
        variables.insert("BENCH_POSTGRES".to_owned(), path(postgres_bin()?));
    }
    let output = workspace::root()?.join("target/bench");
    let mut failed = Vec::new();
    for benchmark in benchmarks {
        let name = benchmark.name();
        note(format!("== {name}"));
        let mut command = std::process::Command::new(program);
        command.current_dir(workspace::root()?).envs(&variables);
        command.arg(&name).arg("--output").arg(&output).arg("--rounds").arg(arguments.rounds.to_string());
        command.args(arguments.only.iter().flat_map(|case| ["--only", case]));
        if arguments.record {
            command.arg("--record").arg("docs/performance.md");
        }
        if !workspace::run_aloud(command, interrupt)?.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn path(path: PathBuf) -> String {
    path.display().to_string()
}
