//! The two files between commands and supervisor.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::child::Supervised;
use crate::process::ProcessId;
use crate::stack::{Component, Stack, files};

/// `wanted.json`: the components to run, each with its generation. A component that runs in another generation
/// is stopped and started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Wanted(BTreeMap<Component, String>);

impl Wanted {
    /// What `stack` should run.
    pub(crate) fn read(stack: &Stack) -> Result<Self> {
        Ok(files::read_json(&stack.wanted_file())?.unwrap_or_default())
    }

    /// Tells `stack`'s supervisor, the present one or the next.
    pub(crate) fn write(&self, stack: &Stack) -> Result<()> {
        files::write_json(&stack.wanted_file(), self)
    }

    /// Has `stack`'s supervisor run nothing. Needs no space, so that a stack that filled the disk can be stopped.
    pub(crate) fn forget(stack: &Stack) -> Result<()> {
        files::remove_file(&stack.wanted_file())
    }

    /// Asks for `component` in `generation`.
    pub(crate) fn add(&mut self, component: Component, generation: String) {
        self.0.insert(component, generation);
    }

    /// Asks for `component` no more.
    pub(crate) fn remove(&mut self, component: Component) {
        self.0.remove(&component);
    }

    /// The generation in which `component` is wanted, if it is.
    pub(crate) fn generation(&self, component: Component) -> Option<&str> {
        self.0.get(&component).map(String::as_str)
    }

    /// True when `child` should not run as it does.
    pub(super) fn rejects(&self, child: &Supervised) -> bool {
        self.generation(child.component()) != Some(child.generation())
    }
}

/// `running.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) supervisor: ProcessId,
    pub(crate) components: BTreeMap<Component, Report>,
}

/// How one component fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The process, while there is one.
    pub(crate) process: Option<ProcessId>,
    /// The generation that was started last.
    pub(crate) generation: String,
    /// Its process has served a request.
    pub(crate) ready: bool,
    /// How often it exited without being asked to, since the supervisor started.
    pub(crate) failures: u32,
    /// How it ended last, or why it could not be started.
    pub(crate) last_failure: Option<String>,
}

impl Running {
    /// What `stack`'s supervisor says it runs; `None` when there is no supervisor.
    pub(crate) fn read(stack: &Stack) -> Result<Option<Self>> {
        let running: Option<Self> = files::read_json(&stack.running_file())?;
        Ok(running.filter(|running| running.supervisor.is_alive()))
    }
}
