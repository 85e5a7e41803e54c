//! `cargo xtask python-client`: the package for Python, made from the API's own document.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::interrupt::Interrupt;
use crate::programs::PYTHON_CLIENT;
use crate::progress::note;
use crate::stack::files;
use crate::workspace;

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// The Python that made it, which has all that the package needs.
    pub(crate) python: PathBuf,
    /// The wheel.
    pub(crate) wheel: PathBuf,
}

/// Runs the subcommand.
pub(crate) fn run(interrupt: &Interrupt) -> Result<()> {
    let Made { wheel, .. } = make(interrupt)?;
    note(format!("made {}", wheel.display()));
    Ok(())
}

/// Generates `darkroom.rest` in `clients/python`, and packs the wheel into its `dist`.
pub(crate) fn make(interrupt: &Interrupt) -> Result<Made> {
    let log_dir = workspace::stack_dir()?.join("log");
    files::create_dir(&log_dir)?;
    let log = log_dir.join("install.log");
    let python = PYTHON_CLIENT.ensure(&log, interrupt)?;
    let folder = workspace::root()?.join("clients/python");
    let dist = folder.join("dist");
    files::remove_dir(&dist)?;
    files::create_dir(&dist)?;
    let document = dist.join("openapi.json");
    fs::write(&document, describe(interrupt)?).context("failed to write the document")?;

    let mut generate = module(&python, "openapi_python_client", &folder);
    generate.args(["generate", "--meta", "none", "--overwrite", "--config", "generator.yaml", "--path"]);
    generate.arg(&document).args(["--output-path", "darkroom/rest"]);
    done(generate, "generate the client")?;
    let mut pack = module(&python, "hatchling", &folder);
    pack.args(["build", "--target", "wheel", "--directory"]).arg(&dist);
    done(pack, "pack the client")?;
    let wheel = fs::read_dir(&dist)?.flatten().map(|entry| entry.path());
    let wheel = wheel.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "whl"));
    Ok(Made { python, wheel: wheel.context("the packer left no wheel behind")? })
}

/// The document, from the program that serves it.
fn describe(interrupt: &Interrupt) -> Result<Vec<u8>> {
    let binaries = workspace::build_binaries(interrupt)?;
    let api = binaries.get("darkroom-api").context("the workspace has no darkroom-api")?;
    let output = Command::new(api).arg("openapi").output().context("failed to run darkroom-api")?;
    if !output.status.success() {
        bail!("darkroom-api openapi failed ({})", output.status);
    }
    Ok(output.stdout)
}

fn module(python: &Path, name: &str, folder: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", name]).current_dir(folder);
    command
}

fn done(mut command: Command, what: &str) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to {what}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("failed to {what} ({}):\n{}", output.status, String::from_utf8_lossy(&said))
}
