//! A broker that a test may stop and wipe.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::environment::variable;

/// A private RabbitMQ, started and ended by `cargo xtask stack`.
#[derive(Debug)]
pub struct PrivateBroker {
    folder: TempDir,
    url: String,
}

impl PrivateBroker {
    /// Starts one. Takes some seconds.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = start(folder.path());
        Self { folder, url }
    }

    /// Its URL; the same after a restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it and deletes everything it knows: queues, messages, users.
    pub fn stop_and_wipe(&self) {
        xtask(&["wipe-broker"], self.folder.path());
    }

    /// Starts it again.
    pub fn restart(&self) {
        assert_eq!(start(self.folder.path()), self.url, "the broker comes back where it was");
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        let _ = command(&["delete"], self.folder.path()).status();
    }
}

fn start(folder: &Path) -> String {
    let owner = std::process::id().to_string();
    let output = xtask(&["start", "--only", "rabbitmq", "--owner", &owner], folder);
    let url = output.lines().find_map(|line| line.strip_prefix("AMQP_URL="));
    url.unwrap_or_else(|| panic!("no AMQP_URL in:\n{output}")).to_owned()
}

fn xtask(arguments: &[&str], folder: &Path) -> String {
    let output = command(arguments, folder).output().expect("xtask starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "xtask stack {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(variable("XTASK_BIN"));
    command.arg("stack").args(arguments).arg("--dir").arg(folder);
    command
}
