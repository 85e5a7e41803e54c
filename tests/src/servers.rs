//! Servers that a test may stop, wipe and torment.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::environment::variable;

/// Servers of a test's own, started and ended by `cargo xtask stack`.
#[derive(Debug)]
pub struct PrivateServers {
    folder: TempDir,
    connections: Vec<(String, String)>,
}

impl PrivateServers {
    /// Starts some of `postgres`, `rabbitmq` and `seaweedfs`. Takes some seconds.
    pub fn start(servers: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let connections = start(servers, folder.path());
        Self { folder, connections }
    }

    /// A broker alone.
    pub fn broker() -> Self {
        Self::start(&["rabbitmq"])
    }

    /// The broker's URL; the same after a restart.
    pub fn amqp_url(&self) -> &str {
        self.connection("AMQP_URL")
    }

    /// The URL of the database server; the same after a restart.
    pub fn database_url(&self) -> &str {
        self.connection("DATABASE_URL")
    }

    /// Stops a server and keeps its data.
    pub fn stop(&self, server: &str) {
        xtask(&["stop", "--only", server], self.folder.path());
    }

    /// Starts it again.
    pub fn restart(&self, server: &str) {
        let again = start(&[server], self.folder.path());
        assert!(again.iter().all(|here| self.connections.contains(here)), "{server} comes back where it was");
    }

    /// Stops the broker and deletes everything it knows: queues, messages, users.
    pub fn wipe_broker(&self) {
        xtask(&["wipe-broker"], self.folder.path());
    }

    /// Runs `rabbitmqctl` on the broker and returns what it said.
    pub fn rabbitmqctl(&self, arguments: &[&str]) -> String {
        let mut command = command(&["rabbitmqctl"], self.folder.path());
        let output = command.arg("--").args(arguments).output().expect("xtask starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn connection(&self, name: &str) -> &str {
        let connection = self.connections.iter().find(|(other, _)| other == name);
        connection
            .map(|(_, value)| &value[..])
            .unwrap_or_else(|| panic!("no {name}: the server was not asked for"))
    }
}

impl Drop for PrivateServers {
    fn drop(&mut self) {
        let _ = command(&["delete"], self.folder.path()).status();
    }
}

fn start(servers: &[&str], folder: &Path) -> Vec<(String, String)> {
    let owner = std::process::id().to_string();
    let output = xtask(&["start", "--only", &servers.join(","), "--owner", &owner], folder);
    let connections = output.lines().filter_map(|line| line.split_once('='));
    connections.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
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
