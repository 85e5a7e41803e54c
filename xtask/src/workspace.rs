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
use crate::{process, progress};

/// The repository's root.
///
/// `cargo run` says where this package lies, and `cargo test` where another one of the workspace does. Only
/// without that is the place asked for that the compiler knew.
///
/// # Errors
///
/// When that place is in no checkout of Darkroom: it is never another checkout that is acted on instead.
pub(crate) fn root() -> Result<PathBuf> {
    if let Some(told) = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from) {
        return checkout_of(&told).with_context(|| {
            let told = told.display();
            format!("CARGO_MANIFEST_DIR is `{told}`, which is no package of a Darkroom checkout: unset it")
        });
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    checkout_of(built).with_context(|| {
        format!("{}, where this program was built, is gone: run `cargo xtask` instead", built.display())
    })
}

/// The checkout that the package in `package` belongs to.
fn checkout_of(package: &Path) -> Option<PathBuf> {
    if !package.is_absolute() || !package.join("Cargo.toml").is_file() {
        return None;
    }
    package.ancestors().find(|dir| dir.join("xtask/Cargo.toml").is_file()).map(Path::to_path_buf)
}

/// The folder of the stack that `up` starts.
pub(crate) fn stack_dir() -> Result<PathBuf> {
    Ok(root()?.join(".stack"))
}

/// This program, which a build may have deleted or replaced meanwhile.
pub(crate) fn own_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Cargo in the repository's root, checking queries against the committed data: no build needs a database.
pub(crate) fn cargo() -> Result<Command> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()?).env("SQLX_OFFLINE", "true").env_remove("DATABASE_URL");
    forget_own_package(&mut command);
    Ok(command)
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

/// Runs `command` to its end and prints its stdout, as long as somebody reads it: what matters is how it ends.
pub(crate) fn run_aloud(command: Command, interrupt: &Interrupt) -> Result<ExitStatus> {
    run(command, interrupt, |line| {
        let _ = progress::print(line);
    })
}

/// Builds the workspace's binaries and returns where each one lies.
///
/// Naming the services alone would select fewer features of what they depend on, and `test` would compile half
/// of the dependencies a second time.
pub(crate) fn build_binaries(interrupt: &Interrupt) -> Result<BTreeMap<String, PathBuf>> {
    build(&[], interrupt)
}

/// The same, optimised as for deployment: what benchmarks measure.
pub(crate) fn build_release_binaries(interrupt: &Interrupt) -> Result<BTreeMap<String, PathBuf>> {
    build(&["--release"], interrupt)
}

fn build(further: &[&str], interrupt: &Interrupt) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = cargo()?;
    command
        .args(["build", "--workspace", "--bins", "--message-format=json-render-diagnostics"])
        .args(further);
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
    let output = cargo()?.args(["metadata", "--no-deps", "--format-version=1"]).stdin(Stdio::null()).output();
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn checkout_is_that_of_the_package_which_cargo_names() {
        let dir = tempfile::tempdir().unwrap();
        for package in ["xtask", "tests", "crates/store"] {
            fs::create_dir_all(dir.path().join(package)).unwrap();
            fs::write(dir.path().join(package).join("Cargo.toml"), "").unwrap();
        }
        for package in ["xtask", "tests", "crates/store"] {
            assert_eq!(checkout_of(&dir.path().join(package)).as_deref(), Some(dir.path()));
        }
    }

    #[test]
    fn folder_that_is_no_package_of_a_checkout_names_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        fs::write(dir.path().join("other/Cargo.toml"), "").unwrap();
        assert_eq!(checkout_of(&dir.path().join("other")), None);
        assert_eq!(checkout_of(&dir.path().join("gone")), None);
        assert_eq!(checkout_of(Path::new("xtask")), None);
        assert_eq!(checkout_of(Path::new("")), None);
    }
}
