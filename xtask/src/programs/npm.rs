//! Packages that npm carries, kept in the user's cache. Only where Node is: nothing installs that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::pypi::cache_dir;
use super::{apt, on_path};
use crate::interrupt::Interrupt;
use crate::progress::Step;
use crate::stack::files;

/// Packages that need no others: what npm would install with them are tools of their authors.
pub(crate) struct Packages {
    /// Name and version of the whole.
    pub(crate) title: &'static str,
    pub(crate) packages: &'static [Package],
}

pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// As the registry has it: `sha512-` and base64.
    pub(crate) integrity: &'static str,
}

impl Packages {
    /// The folder whose `node_modules` has the packages, which are fetched unless the cache has them; `None` where
    /// there is no Node. `log` gets npm's output.
    pub(crate) fn ensure(&self, log: &Path, interrupt: &Interrupt) -> Result<Option<PathBuf>> {
        if on_path("node").is_none() || on_path("npm").is_none() {
            return Ok(None);
        }
        let target = cache_dir()?.join(self.title);
        if target.exists() {
            return Ok(Some(target));
        }
        let mut step = Step::begin(format!("installing {} from npm", self.title));
        let work = cache_dir()?.join(format!("npm-{}", std::process::id()));
        files::remove_dir(&work)?;
        files::create_dir(&work)?;
        let installed = self.install(&work, log, &mut step, interrupt);
        if installed.is_ok() {
            fs::rename(&work, &target).with_context(|| format!("failed to write {}", target.display()))?;
        }
        files::remove_dir(&work)?;
        installed?;
        step.done(format!("fetched {}", target.display()));
        Ok(Some(target))
    }

    fn install(&self, work: &Path, log: &Path, step: &mut Step, interrupt: &Interrupt) -> Result<()> {
        for package in self.packages {
            interrupt.check()?;
            let archive = package.pack(work)?;
            let folder = work.join("node_modules").join(package.name);
            fs::create_dir_all(&folder)?;
            let mut tar = Command::new("tar");
            tar.arg("-xzf").arg(&archive).arg("-C").arg(&folder).args(["--strip-components", "1"]);
            apt::run_logged(tar, log, step, interrupt)?;
            fs::remove_file(&archive)?;
        }
        Ok(())
    }
}

impl Package {
    /// Fetches the package's archive.
    fn pack(&self, work: &Path) -> Result<PathBuf> {
        let what = format!("{}@{}", self.name, self.version);
        let mut npm = Command::new("npm");
        npm.args(["pack", "--json", "--silent", &what]).current_dir(work).stdin(Stdio::null());
        let output = npm.output().context("failed to run npm")?;
        ensure!(
            output.status.success(),
            "failed to fetch {what} from npm: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let packed: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("npm pack said no JSON")?;
        let text = |name: &str| packed[0][name].as_str().unwrap_or_default().to_owned();
        // npm has compared it with what came.
        ensure!(text("integrity") == self.integrity, "{what} from npm is not the one that is pinned");
        Ok(work.join(text("filename")))
    }
}
