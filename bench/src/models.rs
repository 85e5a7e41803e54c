//! Models of full size with random weights, which are written once for a machine.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{report, variable};

const SCRIPT: &str = "bench/reference/models.py";

/// A model that `bench/reference/models.py` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Sd15,
    Sdxl,
    Blip,
}

impl Name {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sd15 => "sd15",
            Self::Sdxl => "sdxl",
            Self::Blip => "blip",
        }
    }

    fn gigabytes(self) -> f64 {
        match self {
            Self::Sd15 => 4.3,
            Self::Sdxl => 10.3,
            Self::Blip => 1.8,
        }
    }
}

/// Where all of them are.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(std::env::current_dir()?.join("target/bench/models"))
}

/// Writes the model unless it is there; returns its folder.
pub(crate) fn ensure(name: Name) -> Result<PathBuf> {
    let models = folder()?;
    let folder = models.join(name.as_str());
    if folder.exists() {
        return Ok(folder);
    }
    report::note(format!("writing {} of random weights, {} GB", folder.display(), name.gigabytes()));
    fs::create_dir_all(&models)?;
    let status = reference(SCRIPT)?.arg(&models).arg(name.as_str()).status()?;
    ensure!(status.success(), "{SCRIPT} failed: {status}");
    Ok(folder)
}

pub(crate) fn remove(name: Name) -> Result<()> {
    let folder = folder()?.join(name.as_str());
    report::note(format!("removing {}", folder.display()));
    fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))
}

/// A script in the Python that has PyTorch, with two threads.
pub(crate) fn reference(script: &str) -> Result<Command> {
    let mut command = Command::new(variable("BENCH_REFERENCE")?);
    command.arg(script).env("OMP_NUM_THREADS", crate::THREADS);
    command.envs([("HF_HUB_OFFLINE", "1"), ("PYTHONWARNINGS", "ignore"), ("TQDM_DISABLE", "1")]);
    Ok(command)
}

/// This program in another role, with as many threads.
pub(crate) fn ours(role: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).env("RAYON_NUM_THREADS", crate::THREADS);
    Ok(command)
}
