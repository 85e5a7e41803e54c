//! Missing programs, from Debian's packages.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::policy::{self, Quiet};
use crate::interrupt::Interrupt;
use crate::progress::{self, Step};
use crate::stack::files;

/// Servers that the packages set to start with the machine.
const UNITS: [&str; 3] = ["rabbitmq-server.service", "epmd.socket", "epmd.service"];

/// A program and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Package {
    Postgresql,
    Rabbitmq,
    PythonVenv,
    Faketime,
}

impl Package {
    fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Rabbitmq => "rabbitmq-server",
            Self::PythonVenv => "python3-venv",
            Self::Faketime => "faketime",
        }
    }

    fn is_missing(self) -> bool {
        match self {
            Self::Postgresql => super::postgres_bin().is_err(),
            Self::Rabbitmq => super::rabbitmq_server().is_err() || super::epmd().is_err(),
            Self::PythonVenv => true,
            Self::Faketime => super::faketime().is_none(),
        }
    }
}

/// Installs those of `packages` whose programs are missing, without starting any server. `log` gets the
/// installer's output.
///
/// # Errors
///
/// Names the command to run where this program may not install anything.
pub(crate) fn ensure(packages: &[Package], log: &Path, interrupt: &Interrupt) -> Result<()> {
    let missing: Vec<Package> = packages.iter().copied().filter(|package| package.is_missing()).collect();
    if super::is_root() {
        policy::recover(Path::new("/"))?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name()).collect();
    let names = names.join(" ");
    let Some(apt) = super::on_path("apt-get") else {
        bail!("missing: {names}. There is no apt-get here: install them by this system's own means");
    };
    if !super::is_root() {
        bail!(
            "missing: {names}. Run this and try again:\n  sudo apt-get install --no-install-recommends {names}"
        );
    }
    let step = Step::begin(format!("installing {names}"));
    install(&apt, &missing, log, interrupt, step)?;
    if let Some(package) = missing.iter().find(|it| **it != Package::PythonVenv && it.is_missing()) {
        bail!("{} is installed, and yet its programs were not found: read {}", package.name(), log.display());
    }
    Ok(())
}

fn install(
    apt: &PathBuf,
    packages: &[Package],
    log: &Path,
    interrupt: &Interrupt,
    mut step: Step,
) -> Result<()> {
    let names: Vec<&str> = packages.iter().map(|package| package.name()).collect();
    let quiet = Quiet::begin(Path::new("/"))?;
    let new_units: Vec<&str> = UNITS.into_iter().filter(|unit| !is_unit(unit)).collect();
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&names);
    // A machine that was just set up has no package lists, and an old one has lists of what is gone.
    if run(apt, &install, log, &mut step, interrupt).is_err() {
        interrupt.check()?;
        run(apt, &["update"], log, &mut step, interrupt)?;
        run(apt, &install, log, &mut step, interrupt)?;
    }
    drop(quiet);
    keep_from_booting(&new_units);
    step.done(format!("installed {}", names.join(" ")));
    Ok(())
}

fn run(apt: &PathBuf, arguments: &[&str], log: &Path, step: &mut Step, interrupt: &Interrupt) -> Result<()> {
    let mut command = Command::new(apt);
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=300"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    run_logged(command, log, step, interrupt)
}

/// Runs `command` to its end with its output in `log`, and shows the end of that where it fails.
pub(crate) fn run_logged(command: Command, log: &Path, step: &mut Step, interrupt: &Interrupt) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = status_logged(command, log, step, interrupt)?;
    if !status.success() {
        let lines = files::last_lines(log, 15);
        bail!("{program} failed ({status}):\n{lines}\nread {}", log.display());
    }
    Ok(())
}

/// Runs `command` to its end with its output in `log`; after an interrupt it is waited for all the same,
/// since the terminal has interrupted it too.
pub(crate) fn status_logged(
    mut command: Command,
    log: &Path,
    step: &mut Step,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    let file = file.with_context(|| format!("failed to open {}", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = command.spawn().with_context(|| format!("failed to run {program}"))?;
    let mut exited = || -> Result<_> { Ok(child.try_wait()?) };
    let status = match step.wait(Duration::from_secs(1_800), interrupt, &mut exited) {
        Ok(status) => status,
        Err(_) if interrupt.is_set() => child.wait()?,
        Err(error) => return Err(error),
    };
    interrupt.check()?;
    Ok(status)
}

fn is_unit(unit: &str) -> bool {
    ["/lib/systemd/system", "/usr/lib/systemd/system"].iter().any(|dir| Path::new(dir).join(unit).exists())
}

/// Keeps the machine's next boot from starting `units`, which came with a broker that only stacks asked for.
/// A machine without `systemctl` has no systemd to start them.
fn keep_from_booting(units: &[&str]) {
    let run = |program: &str, arguments: &[&str]| {
        if let Some(path) = super::on_path(program) {
            let mut command = Command::new(path);
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let _ = command.status();
        }
    };
    for unit in units.iter().filter(|unit| is_unit(unit)) {
        run("systemctl", &["disable", unit]);
        if let Some((name, "service")) = unit.rsplit_once('.') {
            run("update-rc.d", &[name, "disable"]);
        }
        progress::note(format!("{unit} will not start with the machine"));
    }
}
