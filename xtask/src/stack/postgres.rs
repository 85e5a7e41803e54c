//! Postgres: one cluster, one superuser, TCP on the loopback address only.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::ports::Port;
use super::{Component, Lifetime, Stack, State, files};
use crate::interrupt::Interrupt;
use crate::process;
use crate::programs::{self, Account};

/// The superuser's name and that of the services' database.
pub(crate) const NAME: &str = "darkroom";
/// Where data lie that cannot lie in their stack.
pub(crate) const OUTSIDE: &str = "/var/lib/darkroom";
const MAX_CONNECTIONS: u32 = 300;

/// The folder for the cluster: in the stack, or under `/var/lib` where the database's user cannot get there
/// (a checkout in `/root`, say).
pub(crate) fn choose_dir(stack: &Stack, state: &State) -> Result<PathBuf> {
    let inside = stack.data_dir(Component::Postgres);
    let account = if programs::is_root() { programs::account("postgres")? } else { None };
    match account {
        Some(account) if !can_reach(&account, stack.dir()) => Ok(Path::new(OUTSIDE).join(&state.id)),
        _ => Ok(inside),
    }
}

/// Makes the cluster with the database `darkroom` in it, unless it exists. One that was interrupted half way
/// is made anew.
pub(crate) fn prepare(stack: &Stack, state: &State, interrupt: &Interrupt) -> Result<()> {
    let dir = &state.postgres_dir;
    let cluster = cluster_dir(state);
    if cluster.join("PG_VERSION").exists() {
        return check_version(&cluster);
    }
    files::create_dir(dir)?;
    let account = account()?;
    give(dir, account.as_ref())?;
    let unfinished = dir.join("cluster.new");
    files::remove_dir(&unfinished)?;

    let password_file = dir.join("password.new");
    files::write_private(&password_file, &state.secrets.postgres_password)?;
    give_file(&password_file, account.as_ref())?;

    let mut initdb = as_account("initdb", dir, account.as_ref())?;
    initdb.arg("--pgdata").arg(&unfinished).arg("--pwfile").arg(&password_file);
    initdb.args(["--username", NAME, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"]);
    // The cluster is complete only once it has its final name; the server syncs what it writes from then on.
    initdb.arg("--no-sync");
    run_logged(stack, initdb, None, interrupt)?;

    // The single-user server needs no port and no password.
    let mut single = as_account("postgres", dir, account.as_ref())?;
    single.arg("--single").arg("-D").arg(&unfinished).arg("postgres");
    run_logged(stack, single, Some(&format!("CREATE DATABASE {NAME};\n")), interrupt)?;

    fs::remove_file(&password_file)
        .with_context(|| format!("failed to delete {}", password_file.display()))?;
    fs::rename(&unfinished, &cluster).with_context(|| format!("failed to name {}", cluster.display()))
}

/// The server.
pub(crate) fn command(state: &State) -> Result<Command> {
    let account = account()?;
    let mut command = as_account("postgres", &state.postgres_dir, account.as_ref())?;
    command.arg("-D").arg(cluster_dir(state));
    let mut set = |name: &str, value: &str| {
        command.arg("-c").arg(format!("{name}={value}"));
    };
    set("listen_addresses", "127.0.0.1");
    set("port", &state.port(Port::Postgres).to_string());
    // A path to a socket may have 107 bytes, and nobody needs one here.
    set("unix_socket_directories", "");
    set("max_connections", &MAX_CONNECTIONS.to_string());
    set("log_line_prefix", "%m [%p] %d ");
    // Survives in the process's arguments, unlike its environment, which Postgres overwrites.
    set(process::POSTGRES_MARK, &state.marker(Component::Postgres));
    if state.lifetime == Lifetime::Throwaway {
        set("fsync", "off");
        set("full_page_writes", "off");
    }
    Ok(command)
}

/// A `psql` on database `database` that stops at the first error.
pub(crate) fn psql(state: &State, database: &str) -> Result<Command> {
    let mut command = Command::new(programs::postgres_bin()?.join("psql"));
    forget_settings(&mut command);
    command.env("PGPASSWORD", &state.secrets.postgres_password);
    command.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--host", "127.0.0.1"]);
    command.args(["--port", &state.port(Port::Postgres).to_string()]);
    command.args(["--username", NAME, "--dbname", database]);
    Ok(command)
}

fn cluster_dir(state: &State) -> PathBuf {
    state.postgres_dir.join("cluster")
}

/// Whom the server runs as: Postgres refuses to run as root.
fn account() -> Result<Option<Account>> {
    if !programs::is_root() {
        return Ok(None);
    }
    let account = programs::account("postgres")?;
    Ok(Some(account.context("there is no user `postgres`, which the package postgresql makes")?))
}

/// True when `account` may enter `dir` and everything above it.
fn can_reach(account: &Account, dir: &Path) -> bool {
    dir.ancestors().all(|path| {
        fs::metadata(path).is_ok_and(|metadata| {
            let mode = metadata.mode();
            let bit = if metadata.uid() == account.uid {
                0o100
            } else if metadata.gid() == account.gid {
                0o010
            } else {
                0o001
            };
            mode & bit != 0
        })
    })
}

fn give(dir: &Path, account: Option<&Account>) -> Result<()> {
    give_file(dir, account)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
        .with_context(|| format!("failed to change the mode of {}", dir.display()))
}

fn give_file(path: &Path, account: Option<&Account>) -> Result<()> {
    if let Some(Account { uid, gid }) = account {
        chown(path, Some(*uid), Some(*gid)).with_context(|| format!("failed to chown {}", path.display()))?;
    }
    Ok(())
}

fn as_account(program: &str, dir: &Path, account: Option<&Account>) -> Result<Command> {
    let mut command = Command::new(programs::postgres_bin()?.join(program));
    forget_settings(&mut command);
    command.env("LC_ALL", "C").current_dir(dir).stdin(Stdio::null());
    if let Some(Account { uid, gid }) = account {
        command.uid(*uid).gid(*gid);
    }
    Ok(command)
}

/// Keeps the settings of the user's own Postgres out: `PGPORT`, `PGDATA`, `PGOPTIONS` and the like.
fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
}

/// Runs `command` to its end, also after an interrupt: the terminal's reaches it as well.
fn run_logged(stack: &Stack, mut command: Command, input: Option<&str>, interrupt: &Interrupt) -> Result<()> {
    let log = stack.log_file("postgres");
    let file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
    command.stdout(file.try_clone()?).stderr(file);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("failed to run {program}"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        let written = stdin.write_all(text.as_bytes());
        interrupt.check()?;
        written.with_context(|| format!("failed to write to {program}"))?;
    }
    let status = child.wait()?;
    interrupt.check()?;
    if !status.success() {
        bail!("{program} failed ({status}):\n{}\nread {}", files::last_lines(&log, 15), log.display());
    }
    Ok(())
}

/// A cluster of another major version cannot be started, and is never deleted unasked.
fn check_version(cluster: &Path) -> Result<()> {
    let made_by = fs::read_to_string(cluster.join("PG_VERSION")).unwrap_or_default();
    let bin = programs::postgres_bin()?;
    let found = programs::postgres_major(&bin).unwrap_or_default();
    if found != 0 && made_by.trim() != found.to_string() {
        bail!(
            "{} was made by Postgres {}, and {} is version {found}: run `cargo xtask down --purge` to start \
             afresh, or install postgresql-{}",
            cluster.display(),
            made_by.trim(),
            bin.display(),
            made_by.trim(),
        );
    }
    Ok(())
}
