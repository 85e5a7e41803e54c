//! Stopping in two steps.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two requests to stop. Hard implies soft.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Take no new work, finish what runs. Cancelled by the first SIGTERM or SIGINT.
    pub soft: CancellationToken,
    /// Give back what runs, now. Cancelled by the second SIGTERM or SIGINT.
    pub hard: CancellationToken,
}

/// Listens for SIGTERM and SIGINT until the process ends. Call it once, inside the runtime.
///
/// # Errors
/// When the process may not install signal handlers.
pub fn listen() -> io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = Shutdown::default();
    let Shutdown { soft, hard } = shutdown.clone();
    // Untracked on purpose: it lasts as long as the process and owns nothing.
    tokio::spawn(async move {
        for (token, step) in [(soft.clone(), "soft"), (hard, "hard")] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!(step, "asked to stop");
            soft.cancel();
            token.cancel();
        }
    });
    Ok(shutdown)
}
