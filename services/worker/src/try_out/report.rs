//! What is said on the terminal while a task runs.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use anyhow::Context as _;
use darkroom_models::{Progress, Warning};

/// Follows a run, and says at its end what it took.
pub(super) struct Report {
    begun: Instant,
    loaded: Option<Instant>,
    threads: usize,
    lively: bool,
}

impl Report {
    pub(super) fn begin() -> anyhow::Result<Self> {
        let threads = darkroom_models::start_threads()?;
        Ok(Self { begun: Instant::now(), loaded: None, threads, lively: io::stderr().is_terminal() })
    }

    /// The model is loaded, and has `bytes` of weights.
    pub(super) fn loaded(&mut self, bytes: u64) {
        let now = Instant::now();
        let took = now.duration_since(self.begun).as_secs_f64();
        self.loaded = Some(now);
        say(&format!("loaded {:.1} MiB of weights in {took:.1} s", mebibytes(bytes)));
    }

    pub(super) fn step(&self, progress: Progress) {
        if self.lively {
            let Progress { image, images, step, steps } = progress;
            let end = if step == steps { "\n" } else { "" };
            let _ = write!(io::stderr(), "\rpicture {} of {images}, step {step} of {steps}{end}", image + 1);
        }
    }

    pub(super) fn end(&self) {
        let took = self.loaded.unwrap_or(self.begun).elapsed().as_secs_f64();
        let memory = peak_memory_bytes()
            .map_or_else(String::new, |bytes| format!(", peak memory {:.1} MiB", mebibytes(bytes)));
        let threads = self.threads;
        let s = if threads == 1 { "" } else { "s" };
        say(&format!("ran in {took:.1} s on {threads} thread{s}{memory}"));
    }
}

pub(super) fn warn(warning: &Warning) {
    let Warning::PromptTruncated { encoder, dropped, limit } = warning;
    say(&format!("warning: {encoder} reads {limit} tokens; left out: {dropped:?}"));
}

/// Writes a line to stderr.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a result to stdout.
pub(super) fn print(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context("failed to write to stdout")
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The most memory this process has had resident.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
