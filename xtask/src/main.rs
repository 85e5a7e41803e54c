//! `cargo xtask`: the local stack, and everything run on it.
//!
//! A [`stack::Stack`] is a folder with a private Postgres, RabbitMQ and SeaweedFS and, on top of them, Darkroom's
//! services. A [`supervisor`] in the background runs them. The [`commands`] bring stacks up and down, and run
//! the demo and the tests on them.

mod commands;
mod interrupt;
mod measured;
mod process;
mod programs;
mod progress;
mod stack;
mod supervisor;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    let outcome = interrupt::Interrupt::install().and_then(|interrupt| commands::run(arguments, &interrupt));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<progress::NobodyReads>() => ExitCode::SUCCESS,
        Err(error) => {
            progress::note(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
