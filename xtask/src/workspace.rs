//! The checkout this program was built from, and cargo.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::interrupt::Interrupt;
use crate::process;

/// The repository's root.
///
/// `cargo run` says where this package lies. Without it, what the compiler said is as good, unless the checkout
/// was moved since.
pub(crate) fn root() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let told = told.filter(|dir| dir.ends_with("xtask") && dir.join("Cargo.toml").exists());
    let manifest = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// The folder of the stack that `up` starts.
pub(crate) fn stack_dir() -> PathBuf {
    root().join(".stack")
}

/// This program, which a build may have deleted or replaced meanwhile.
pub(crate) fn own_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Cargo in the repository's root, checking queries against the committed data: no build needs a database.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).env("SQLX_OFFLINE", "true").env_remove("DATABASE_URL");
    forget_own_package(&mut command);
    command
}

/// Removes what `cargo run` told this program about its own package: a build script would take it for its own.
pub(crate) fn forget_own_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
}

/// Runs `command` to its end, passing each line of its stdout to `line`. An interrupt is handed on to all of
/// its process group.
pub(crate) fn run(
    mut command: Command,
    interrupt: &Interrupt,
    mut line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("failed to run {program}"))?;
    let lines = lines_of(&mut child);
    let mut interrupted = false;
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if interrupt.is_set() && !interrupted {
            interrupted = true;
            process::send_group(child.id(), Signal::INT)?;
        }
        // A grandchild that outlives its parent may hold the pipe open for ever.
        if interrupted && child.try_wait()?.is_some() {
            break;
        }
    }
    let status = child.wait()?;
    interrupt.check()?;
    Ok(status)
}

/// Builds the workspace's binaries and returns where each one lies.
///
/// Naming the services alone would select fewer features of what they depend on, and `test` would compile half
/// of the dependencies a second time.
pub(crate) fn build_binaries(interrupt: &Interrupt) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = cargo();
    command.args(["build", "--workspace", "--bins", "--message-format=json-render-diagnostics"]);
    let mut binaries = BTreeMap::new();
    let status = run(command, interrupt, |line| {
        if let Ok(message) = serde_json::from_str::<Value>(line)
            && let (Some(name), Some(path)) =
                (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            binaries.insert(name.to_owned(), PathBuf::from(path));
        }
    })?;
    if !status.success() {
        bail!("the build failed");
    }
    Ok(binaries)
}

/// What `cargo metadata --no-deps` says about the workspace.
pub(crate) fn metadata() -> Result<Value> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1"]).stdin(Stdio::null()).output();
    let output = output.context("failed to run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for text in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&text).into_owned()).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}
