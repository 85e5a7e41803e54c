//! `cargo xtask logs`.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::interrupt::Interrupt;
use crate::progress;
use crate::stack::{Stack, files};
use crate::workspace;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// One log only: api, dispatcher, worker, postgres, rabbitmq, seaweedfs, supervisor, …
    service: Option<String>,
    /// Go on printing what is added
    #[arg(short, long)]
    follow: bool,
    /// How many lines to begin with
    #[arg(short = 'n', long, default_value_t = 40)]
    lines: usize,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    let stack =
        Stack::find(&workspace::stack_dir()?)?.context("there is no stack yet: run `cargo xtask up`")?;
    let mut tails = Vec::new();
    let names = names(&stack)?;
    for name in &names {
        if arguments.service.as_ref().is_none_or(|wanted| wanted == name) {
            tails.push(Tail::new(name, stack.log_file(name)));
        }
    }
    if tails.is_empty() {
        bail!("there is no such log: choose one of {}", names.join(", "));
    }
    let many = tails.len() > 1;
    for tail in &mut tails {
        tail.offset = fs::metadata(&tail.path).map_or(0, |metadata| metadata.len());
        print(&files::last_lines(&tail.path, arguments.lines), many.then_some(tail.name.as_str()))?;
    }
    while arguments.follow && !interrupt.is_set() {
        for tail in &mut tails {
            let added = tail.added().with_context(|| format!("failed to read {}", tail.path.display()))?;
            print(&added, many.then_some(tail.name.as_str()))?;
        }
        progress::pause(Duration::from_millis(250));
    }
    Ok(())
}

/// A log and how far it was printed.
struct Tail {
    name: String,
    path: PathBuf,
    offset: u64,
}

impl Tail {
    fn new(name: &str, path: PathBuf) -> Self {
        Self { name: name.to_owned(), path, offset: 0 }
    }

    /// The whole lines that were added since the last call. A log that shrank was begun anew.
    fn added(&mut self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() < self.offset {
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        bytes.truncate(end);
        self.offset += end as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn print(text: &str, label: Option<&str>) -> Result<()> {
    for line in text.lines() {
        match label {
            Some(label) => progress::print(format!("{label:<11}| {line}"))?,
            None => progress::print(line)?,
        }
    }
    Ok(())
}

fn names(stack: &Stack) -> Result<Vec<String>> {
    let dir = stack.log_dir();
    let entries = fs::read_dir(&dir).with_context(|| format!("failed to read {}", dir.display()))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| log_name(&entry.path())).collect();
    names.sort();
    Ok(names)
}

fn log_name(path: &Path) -> Option<String> {
    let is_log = path.extension().is_some_and(|extension| extension == "log");
    is_log.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_added_and_a_new_log_is_read_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.log");
        fs::write(&path, "one\ntw").unwrap();
        let mut tail = Tail::new("api", path.clone());
        assert_eq!(tail.added().unwrap(), "one\n");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail.added().unwrap(), "two\nthree\n");
        fs::write(&path, "new\n").unwrap();
        assert_eq!(tail.added().unwrap(), "new\n");
    }
}
