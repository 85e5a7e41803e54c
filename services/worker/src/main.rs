//! The worker's program. Settings come from arguments or the environment; see `--help`.

use std::process::ExitCode;

use darkroom_ops::Call;
use darkroom_worker::{Command, Settings};

fn main() -> ExitCode {
    let settings: Settings = match Call::<_, Command>::parse() {
        Call::Run(settings) => settings,
        Call::Health(health) => return health.run(),
        Call::Other(command) => return command.run(),
    };
    let ops = settings.ops.clone();
    darkroom_ops::run("darkroom-worker", &ops, async |context| darkroom_worker::run(settings, context).await)
}
