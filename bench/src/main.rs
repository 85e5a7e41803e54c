//! Benchmarks of Darkroom, each figure beside that of something well known, measured in the same run, in turns.
//!
//! Started by `cargo xtask bench`, which builds, starts the servers and installs what is compared with. A
//! benchmark makes [`Figure`](figure::Figure)s; [`report`] prints them, and writes `target/bench/NAME.json` and
//! `NAME.svg`; [`document`] writes `docs/performance.md` from the JSON.

mod api;
mod cold;
mod database;
mod deployed;
mod document;
mod figure;
mod growth;
mod http;
mod inference;
mod jobs;
mod limits;
mod load;
mod models;
mod operations;
mod plot;
mod report;
mod samples;
mod scale;
mod service;
mod shortcuts;
mod stage;
mod statement;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use crate::figure::Figure;

/// How many threads either side may take where models are compared.
const THREADS: &str = "2";

/// Measures, and writes what it measured.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Arguments {
    /// What to measure
    benchmark: Benchmark,
    /// How often each side is measured, in turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only this case of `inference` or `shortcuts`, by its name; more than once for several
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Where NAME.json and NAME.svg go
    #[arg(long)]
    output: PathBuf,
    /// Also write the table into this document
    #[arg(long)]
    record: Option<PathBuf>,
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
    fn measure(self, arguments: &Arguments) -> Result<Vec<Figure>> {
        let rounds = arguments.rounds;
        match self {
            Self::Caption => inference::captions(rounds, &arguments.only),
            Self::Inference => inference::pictures(rounds, &arguments.only),
            Self::Operations => operations::measure(rounds),
            Self::Cold => cold::measure(rounds),
            Self::Shortcuts => shortcuts::measure(rounds, &arguments.only),
            Self::Limits => limits::measure(rounds),
            Self::Jobs => jobs::measure(rounds),
            Self::Scale => scale::measure(rounds),
            Self::Api => block_on(api::measure(rounds)),
            Self::Growth => block_on(growth::measure(rounds)),
        }
    }
}

/// On this thread alone: whatever puts a load on leaves the other processors to what is measured.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// What `cargo xtask bench` tells.
fn variable(name: &str) -> Result<String> {
    #[expect(clippy::disallowed_methods, reason = "the servers are named by the environment")]
    std::env::var(name).with_context(|| format!("{name} is not set: run through `cargo xtask bench`"))
}

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    let outcome = match role.as_str() {
        stage::ROLE => stage::run(),
        cold::ROLE => cold::run(),
        operations::ROLE => operations::run(),
        api::BARE => api::serve_bare(),
        _ => run(&Arguments::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::note(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let name = arguments.benchmark.to_possible_value().expect("no benchmark is hidden").get_name().to_owned();
    let figures = arguments.benchmark.measure(arguments)?;
    report::write(&name, &figures, &arguments.output)?;
    match &arguments.record {
        Some(document) => document::record(&name, &arguments.output, document),
        None => Ok(()),
    }
}
