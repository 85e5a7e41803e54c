//! The worker's program. Settings come from arguments or the environment; see `--help`.

use std::process::ExitCode;

use clap::Parser;
use darkroom_worker::Settings;

fn main() -> ExitCode {
    let settings = Settings::parse();
    let ops = settings.ops.clone();
    darkroom_ops::run("darkroom-worker", &ops, async |context| darkroom_worker::run(settings, context).await)
}
