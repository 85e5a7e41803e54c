//! `darkroom`: pictures from words and words from pictures, at a terminal.
//!
//! Results go to stdout, everything said about them to stderr. [`failure::Outcome`] lists the exit codes.

mod ask;
mod batch;
mod commands;
mod dry_run;
mod failure;
mod follow;
mod image;
mod interrupt;
mod previews;
mod progress;
mod save;
mod session;
mod show;
mod wanted;

use std::process::ExitCode;

use clap::Parser as _;

use crate::commands::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into()).exit(),
    };
    let outcome = runtime.block_on(arguments.run()).unwrap_or_else(|error| failure::report(&error));
    // A question that is still open on the terminal must not keep the process.
    runtime.shutdown_background();
    outcome.exit()
}
