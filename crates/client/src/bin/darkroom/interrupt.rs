//! Ctrl-C.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Every Ctrl-C from now on; none ends the process by itself any more.
#[derive(Debug)]
pub(crate) struct Interrupts(Signal);

impl Interrupts {
    /// Begins to listen.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        signal(SignalKind::interrupt()).map(Self).context("failed to listen for Ctrl-C")
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}
