//! What the person at the terminal sees: one line a step, a spinner while it lasts.
//!
//! Progress goes to stderr, so that stdout carries only what a command was asked for.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt::Interrupt;

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(50);
/// How often a long step speaks where there is no terminal to spin on.
const REMINDER: Duration = Duration::from_secs(20);

/// Prints one line of narration. Where it cannot be written, a full disk under a log say, work goes on without.
pub(crate) fn note(message: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", message.as_ref());
}

/// Prints one line of what the command was asked for.
///
/// # Errors
///
/// [`NobodyReads`], or that the line could not be written.
pub(crate) fn print(line: impl AsRef<str>) -> Result<()> {
    print_to(&mut std::io::stdout().lock(), line.as_ref())
}

fn print_to(output: &mut impl std::io::Write, line: &str) -> Result<()> {
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        other => other.context("failed to write the output"),
    }
}

/// The output was closed, as by `head`: its reader has all it wants, and the command ends well.
#[derive(Debug)]
pub(crate) struct NobodyReads;

impl std::fmt::Display for NobodyReads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the output was closed")
    }
}

impl std::error::Error for NobodyReads {}

/// Sleeps for `duration`. The one place of this program that sleeps; loops around it are bounded.
#[expect(clippy::disallowed_methods, reason = "a command line tool polls the processes it started")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// A step under way.
pub(crate) struct Step {
    label: String,
    started: Instant,
    spoke: Instant,
    spinner: Option<ProgressBar>,
}

impl Step {
    /// Announces the step `label`, such as `starting postgres`.
    pub(crate) fn begin(label: impl Into<String>) -> Self {
        let label = label.into();
        let spinner = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let bar = ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_message(label.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if spinner.is_none() {
            note(format!("{label} ..."));
        }
        let now = Instant::now();
        Self { label, started: now, spoke: now, spinner }
    }

    /// How long the step has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the step well; `outcome` is what is true now, such as `postgres runs`.
    pub(crate) fn done(self, outcome: impl AsRef<str>) {
        self.clear();
        note(format!("{} ({})", outcome.as_ref(), seconds(self.elapsed())));
    }

    /// Calls `attempt` until it yields a value.
    ///
    /// # Errors
    ///
    /// What `attempt` failed with; an interrupt; or that `limit` passed.
    pub(crate) fn wait<T>(
        &mut self,
        limit: Duration,
        interrupt: &Interrupt,
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            if let Some(value) = attempt()? {
                return Ok(value);
            }
            interrupt.check()?;
            if self.elapsed() > limit {
                bail!("{}: gave up after {}", self.label, seconds(limit));
            }
            self.remind();
            pause(POLL);
        }
    }

    fn remind(&mut self) {
        if self.spinner.is_none() && self.spoke.elapsed() >= REMINDER {
            self.spoke = Instant::now();
            note(format!("{} ... {}", self.label, seconds(self.elapsed())));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.spinner {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A duration as people read it: `3.2 s`, `4 min 05 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 100 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails every write.
    struct Broken(ErrorKind);

    impl std::io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closed_output_is_told_from_one_that_fails() {
        let closed = print_to(&mut Broken(ErrorKind::BrokenPipe), "line").unwrap_err();
        assert!(closed.is::<NobodyReads>());
        let full = print_to(&mut Broken(ErrorKind::StorageFull), "line").unwrap_err();
        assert!(!full.is::<NobodyReads>());
        assert_eq!(full.to_string(), "failed to write the output");
    }
}
