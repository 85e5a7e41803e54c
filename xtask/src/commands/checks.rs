//! The committed query data of `crates/store`, made anew and compared.
//!
//! sqlx checks each query when its macro is expanded. With `SQLX_OFFLINE=true` it compares with the files in
//! `crates/store/.sqlx`; with a database at hand it asks that, and writes such files to `SQLX_OFFLINE_DIR`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::interrupt::Interrupt;
use crate::stack::{Stack, environment, files, postgres};
use crate::workspace;

/// The only crate with queries.
const PACKAGE: &str = "darkroom-store";
/// A database that holds the schema and nothing else.
const DATABASE: &str = "queries";

/// A migrated database and an empty folder for query data.
pub(crate) struct Queries {
    database_url: String,
    fresh: PathBuf,
}

impl Queries {
    /// Applies all migrations to a database of their own on `stack`'s server. This needs no build of any
    /// service, which the very queries to be checked might keep from compiling.
    pub(crate) fn begin(stack: &Stack, interrupt: &Interrupt) -> Result<Self> {
        let state = stack.state()?;
        let mut create = postgres::psql(&state, "postgres")?;
        create.arg("--command").arg(format!("CREATE DATABASE {DATABASE}"));
        quietly(create, interrupt)?;
        for migration in migrations()? {
            let mut apply = postgres::psql(&state, DATABASE)?;
            apply.arg("--single-transaction").arg("--file").arg(&migration);
            quietly(apply, interrupt).with_context(|| format!("failed to apply {}", migration.display()))?;
        }
        let fresh = stack.dir().join("sqlx");
        files::remove_dir(&fresh)?;
        files::create_dir(&fresh)?;
        Ok(Self { database_url: environment::database_url(&state, DATABASE), fresh })
    }

    /// Makes `cargo` expand every query against the database.
    pub(crate) fn expand(&self, cargo: Command, interrupt: &Interrupt) -> Result<()> {
        let mut cargo = cargo;
        cargo.env("SQLX_OFFLINE", "false");
        cargo.env("DATABASE_URL", &self.database_url).env("SQLX_OFFLINE_DIR", &self.fresh);
        let touched = Touched::begin()?;
        let status = workspace::run_aloud(cargo, interrupt)?;
        drop(touched);
        if !status.success() {
            bail!("cargo failed ({status})");
        }
        Ok(())
    }

    /// Fails unless the committed data are what the queries say.
    pub(crate) fn compare(&self) -> Result<()> {
        let committed = read(&committed_dir()?)?;
        let fresh = read(&self.fresh)?;
        let differences = differences(&committed, &fresh);
        if !differences.is_empty() {
            let list = differences.join("\n");
            bail!("crates/store/.sqlx does not match the queries: run `cargo xtask sqlx prepare`\n{list}");
        }
        Ok(())
    }

    /// Replaces the committed data and returns how many queries there are.
    pub(crate) fn commit(&self) -> Result<usize> {
        let target = committed_dir()?;
        files::create_dir(&target)?;
        let fresh = read(&self.fresh)?;
        for name in read(&target)?.keys().filter(|name| !fresh.contains_key(*name)) {
            fs::remove_file(target.join(name))?;
        }
        for (name, text) in &fresh {
            let path = target.join(name);
            fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        }
        Ok(fresh.len())
    }
}

/// The command that compiles just what has queries.
pub(crate) fn check_store() -> Result<Command> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["check", "--package", PACKAGE, "--all-targets"]);
    Ok(cargo)
}

/// The sources of the crate's targets, newer than they are for as long as this lives: cargo would otherwise
/// not expand them again. Their own times come back afterwards, so that no later build starts over.
struct Touched(Vec<(PathBuf, SystemTime)>);

impl Touched {
    fn begin() -> Result<Self> {
        let metadata = workspace::metadata()?;
        let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let package = packages.iter().find(|package| package["name"] == PACKAGE);
        let targets = package.and_then(|package| package["targets"].as_array());
        let targets = targets.with_context(|| format!("there is no package {PACKAGE}"))?;
        let mut touched = Self(Vec::new());
        for target in targets.iter().filter(|target| target["kind"][0] != "custom-build") {
            let source = PathBuf::from(target["src_path"].as_str().unwrap_or_default());
            let file = File::options().append(true).open(&source);
            let file = file.with_context(|| format!("failed to open {}", source.display()))?;
            touched.0.push((source, file.metadata()?.modified()?));
            file.set_modified(now())?;
        }
        Ok(touched)
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        for (path, time) in &self.0 {
            if let Ok(file) = File::options().append(true).open(path) {
                let _ = file.set_modified(*time);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "file times are compared with the clock by cargo")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn committed_dir() -> Result<PathBuf> {
    Ok(workspace::root()?.join("crates/store/.sqlx"))
}

fn migrations() -> Result<Vec<PathBuf>> {
    let dir = workspace::root()?.join("migrations");
    let entries = fs::read_dir(&dir).with_context(|| format!("failed to read {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".up.sql"));
    paths.sort();
    Ok(paths)
}

fn read(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    if dir.exists() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("query-") && name.ends_with(".json") {
                texts.insert(name, fs::read_to_string(entry.path())?);
            }
        }
    }
    Ok(texts)
}

/// One line for each file of `committed` that is not as in `fresh`.
fn differences(committed: &BTreeMap<String, String>, fresh: &BTreeMap<String, String>) -> Vec<String> {
    let gone = committed.keys().filter(|name| !fresh.contains_key(*name));
    let mut lines: Vec<String> = gone.map(|name| format!("  {name} belongs to no query any more")).collect();
    for (name, text) in fresh {
        match committed.get(name) {
            None => lines.push(format!("  {name} is missing")),
            Some(old) if old != text => lines.push(format!("  {name} is out of date")),
            Some(_) => {}
        }
    }
    lines
}

fn quietly(command: Command, interrupt: &Interrupt) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = workspace::run(command, interrupt, |_| {})?;
    if !status.success() {
        bail!("{program} failed ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn equal_data_have_no_differences() {
        let both = data(&[("query-a.json", "1")]);
        assert!(differences(&both, &both).is_empty());
    }

    #[test]
    fn stale_missing_and_changed_data_are_named() {
        let committed = data(&[("query-a.json", "1"), ("query-b.json", "1")]);
        let fresh = data(&[("query-b.json", "2"), ("query-c.json", "1")]);
        assert_eq!(
            differences(&committed, &fresh),
            [
                "  query-a.json belongs to no query any more",
                "  query-b.json is out of date",
                "  query-c.json is missing"
            ]
        );
    }
}
