//! The HTTP service of Darkroom.

use std::process::ExitCode;

use clap::Parser;
use darkroom_api::commands::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
