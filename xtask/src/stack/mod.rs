//! A stack: one folder with the data, logs and secrets of a private Postgres, RabbitMQ and SeaweedFS, and of
//! the services on top. It can lie anywhere; any number of them run side by side.
//!
//! ```text
//! stack.json          ports, secrets, the API key (mode 0600)
//! wanted.json         what the supervisor should run
//! running.json        what it runs
//! *.lock              one command at a time, one supervisor at a time
//! data/<component>/   data and generated configuration
//! log/<component>.log
//! ```

pub(crate) mod component;
pub(crate) mod environment;
pub(crate) mod files;
pub(crate) mod lifecycle;
mod origin;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod probe;
pub(crate) mod rabbitmq;
pub(crate) mod seaweedfs;
pub(crate) mod services;
pub(crate) mod state;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

pub(crate) use component::Component;
pub(crate) use state::{Lifetime, State};

use crate::interrupt::Interrupt;
use crate::progress::note;
use files::Lock;

const STATE_FILE: &str = "stack.json";

/// A stack's folder. Its state is read from disk whenever it is needed, since the supervisor and any number of
/// commands share it.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    dir: PathBuf,
}

impl Stack {
    /// The stack in `dir`, made if there is none yet.
    pub(crate) fn create(dir: &Path, lifetime: Lifetime) -> Result<Self> {
        files::create_dir(dir)?;
        let dir = dir.canonicalize().with_context(|| format!("failed to resolve {}", dir.display()))?;
        let stack = Self { dir };
        files::create_dir(&stack.log_dir())?;
        let _lock = stack.lock_state()?;
        if !origin::settle(&stack)? {
            let mut state = State::generate(lifetime, &stack.dir)?;
            state.postgres_dir = postgres::choose_dir(&stack, &state)?;
            files::write_json(&stack.state_file(), &state)?;
        }
        Ok(stack)
    }

    /// The stack in `dir`, if there is one.
    pub(crate) fn find(dir: &Path) -> Result<Option<Self>> {
        let Ok(dir) = dir.canonicalize() else { return Ok(None) };
        let stack = Self { dir };
        if !stack.state_file().exists() {
            return Ok(None);
        }
        let _lock = stack.lock_state()?;
        Ok(origin::settle(&stack)?.then_some(stack))
    }

    /// The stack in `dir` for a command that ends it, if there is one: its state may be unreadable.
    pub(crate) fn find_to_end(dir: &Path) -> Result<Option<Self>> {
        let found = Self::find(dir);
        match Self::at(dir) {
            Some(stack) if found.is_err() && stack.is_unreadable() => Ok(Some(stack)),
            _ => found,
        }
    }

    /// The folder `dir`, if it exists, as one that may hold what is left of a stack.
    pub(crate) fn at(dir: &Path) -> Option<Self> {
        dir.canonicalize().ok().map(|dir| Self { dir })
    }

    /// The stacks in the folders right inside `dir`, unreadable ones too.
    pub(crate) fn nested(dir: &Path) -> Result<Vec<Self>> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::find_to_end(&entry.path()).transpose()).collect()
    }

    /// True when there is a `stack.json` that says nothing.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.read_state().is_err()
    }

    /// The stack's folder, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `stack.json` says now.
    pub(crate) fn state(&self) -> Result<State> {
        self.read_state()?.with_context(|| format!("there is no stack in {}", self.dir.display()))
    }

    /// Changes `stack.json` under its lock and returns what it says after that.
    pub(crate) fn update(&self, change: impl FnOnce(&mut State) -> Result<()>) -> Result<State> {
        let _lock = self.lock_state()?;
        let mut state = self.state()?;
        change(&mut state)?;
        files::write_json(&self.state_file(), &state)?;
        Ok(state)
    }

    /// Keeps other commands from changing this stack for as long as the lock is held.
    pub(crate) fn lock_commands(&self, interrupt: &Interrupt) -> Result<Lock> {
        Lock::take(&self.command_lock(), Duration::from_secs(900), interrupt)
    }

    /// The lock that a command holds.
    pub(crate) fn command_lock(&self) -> PathBuf {
        self.dir.join("command.lock")
    }

    /// The lock that a running supervisor holds.
    pub(crate) fn supervisor_lock(&self) -> PathBuf {
        self.dir.join("supervisor.lock")
    }

    /// What the supervisor should run.
    pub(crate) fn wanted_file(&self) -> PathBuf {
        self.dir.join("wanted.json")
    }

    /// What the supervisor runs.
    pub(crate) fn running_file(&self) -> PathBuf {
        self.dir.join("running.json")
    }

    /// Where the logs lie.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The log `name`, which is a component's name or that of a step.
    pub(crate) fn log_file(&self, name: &str) -> PathBuf {
        self.log_dir().join(format!("{name}.log"))
    }

    /// The folder of `component`'s data and generated configuration.
    pub(crate) fn data_dir(&self, component: Component) -> PathBuf {
        self.dir.join("data").join(component.name())
    }

    /// Deletes the stack or what is left of one, and spares other stacks in its folder. Nothing of it may run.
    pub(crate) fn delete(&self) -> Result<()> {
        match self.read_state() {
            Ok(Some(state)) if !state.postgres_dir.starts_with(&self.dir) => {
                files::remove_dir(&state.postgres_dir)?;
            }
            Err(_) if Path::new(postgres::OUTSIDE).exists() => note(format!(
                "warning: it is not known whether its database lay in {}: if so, delete that by hand",
                postgres::OUTSIDE
            )),
            _ => {}
        }
        let others = Self::nested(&self.dir)?;
        let entries = std::fs::read_dir(&self.dir)?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if others.iter().any(|other| other.dir == path) {
                continue;
            }
            if path.is_dir() {
                files::remove_dir(&path)?;
            } else {
                std::fs::remove_file(&path)
                    .with_context(|| format!("failed to delete {}", path.display()))?;
            }
        }
        if others.is_empty() { files::remove_dir(&self.dir) } else { Ok(()) }
    }

    fn read_state(&self) -> Result<Option<State>> {
        let state = files::read_json(&self.state_file());
        match state {
            Err(error) if error.is::<serde_json::Error>() => {
                let dir = self.dir.display();
                let way_out = if self.dir.ends_with(".stack") {
                    "cargo xtask down --purge".to_owned()
                } else {
                    format!("cargo xtask stack delete --dir {dir}")
                };
                Err(error.context(format!(
                    "the stack in {dir} cannot be used; `{way_out}` ends what runs of it and deletes it"
                )))
            }
            other => other,
        }
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join(STATE_FILE)
    }

    fn lock_state(&self) -> Result<Lock> {
        Lock::take(&self.dir.join("state.lock"), Duration::from_secs(10), &Interrupt::default())
    }
}
