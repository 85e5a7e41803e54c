//! The worker's program. Settings come from arguments or the environment; see `--help`.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use darkroom_ops::Call;
use darkroom_worker::{Command, Settings};

/// Threads for everything but inference and pictures. It waits for the network most of the time; with two of them
/// heartbeats go on while one is busy.
const THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

fn main() -> ExitCode {
    let settings: Settings = match Call::<_, Command>::parse() {
        Call::Run(settings) => settings,
        Call::Health(health) => return health.run(),
        Call::Other(command) => return command.run(),
    };
    let ops = settings.ops.clone();
    darkroom_ops::run_on(THREADS, "darkroom-worker", &ops, async |context| {
        darkroom_worker::run(settings, context).await
    })
}
