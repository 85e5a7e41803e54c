//! One component under supervision.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::files::Report;
use crate::process::{self, ProcessId};
use crate::progress::note;
use crate::stack::{Component, Stack, State, seaweedfs};

const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// A component that ran this long before it exited is restarted as if for the first time.
const STEADY: Duration = Duration::from_secs(60);
const READY_EVERY: Duration = Duration::from_millis(200);
/// A log larger than this is set aside at the next start.
const LONGEST_LOG_BYTES: u64 = 20 << 20;

/// A component: not started, running, or waiting to be started again.
pub(super) struct Supervised {
    component: Component,
    generation: String,
    child: Option<Child>,
    process: Option<ProcessId>,
    ready: bool,
    was_ever_ready: bool,
    stopping: bool,
    killed: bool,
    failures: u32,
    last_failure: Option<String>,
    started: Instant,
    asked: Instant,
    backoff: Duration,
    not_before: Option<Instant>,
}

impl Supervised {
    pub(super) fn new(component: Component) -> Self {
        let now = Instant::now();
        Self {
            component,
            generation: String::new(),
            child: None,
            process: None,
            ready: false,
            was_ever_ready: false,
            stopping: false,
            killed: false,
            failures: 0,
            last_failure: None,
            started: now,
            asked: now,
            backoff: FIRST_BACKOFF,
            not_before: None,
        }
    }

    pub(super) fn component(&self) -> Component {
        self.component
    }

    pub(super) fn generation(&self) -> &str {
        &self.generation
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// True when it does not run and its back-off is over.
    pub(super) fn is_due(&self) -> bool {
        self.child.is_none() && self.not_before.is_none_or(|time| Instant::now() >= time)
    }

    /// Starts it. A failure to do so counts like an exit.
    pub(super) fn start(&mut self, stack: &Stack, generation: &str) {
        if self.generation != generation {
            self.failures = 0;
            self.backoff = FIRST_BACKOFF;
        }
        generation.clone_into(&mut self.generation);
        self.stopping = false;
        self.killed = false;
        self.ready = false;
        self.started = Instant::now();
        match self.try_start(stack) {
            Ok(child) => {
                note(format!("{} started as process {}", self.component.name(), child.id()));
                self.process = ProcessId::of(child.id());
                self.child = Some(child);
            }
            Err(error) => self.fail(format!("{error:#}")),
        }
    }

    fn try_start(&self, stack: &Stack) -> Result<Child> {
        super::sweep(stack, &[self.component])?;
        // Once it has served, others hold its address: then it waits for its old ports.
        let state = if self.was_ever_ready {
            let state = stack.state()?;
            if let Some(port) = state.taken_port(self.component) {
                bail!("port {port} is taken");
            }
            state
        } else {
            stack.update(|state| state.assign_ports(self.component))?
        };
        spawn(self.component, stack, &state)
    }

    /// Takes note of an exit.
    pub(super) fn reap(&mut self, stack: &Stack) {
        let Some(child) = &mut self.child else { return };
        let outcome = match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        self.child = None;
        self.process = None;
        self.ready = false;
        note(format!("{} ended: {outcome}", self.component.name()));
        if !self.stopping {
            let log = stack.log_file(self.component.name());
            self.fail(format!("{outcome}; read {}", log.display()));
        }
    }

    /// Asks its server whether it is ready, until it once was.
    pub(super) fn check_ready(&mut self, stack: &Stack) {
        if self.child.is_none() || self.ready || self.asked.elapsed() < READY_EVERY {
            return;
        }
        self.asked = Instant::now();
        if stack.state().is_ok_and(|state| self.component.is_ready(&state)) {
            note(format!("{} is ready", self.component.name()));
            self.ready = true;
            self.was_ever_ready = true;
        }
    }

    /// Sends its stop signal.
    pub(super) fn ask_to_stop(&mut self) {
        self.stopping = true;
        if let Some(child) = &self.child {
            report_error(process::send(child.id(), self.component.stop_signal()));
        }
    }

    /// Kills it and the processes of its group, once.
    pub(super) fn kill(&mut self) {
        if let Some(child) = &self.child
            && !std::mem::replace(&mut self.killed, true)
        {
            note(format!("{} did not end in time and is killed", self.component.name()));
            report_error(process::send_group(child.id(), Signal::KILL));
        }
    }

    /// After a stop that was asked for: ends what its process left behind, and forgets its troubles.
    pub(super) fn settle(&mut self, stack: &Stack) {
        report_error(super::sweep(stack, &[self.component]).map(drop));
        if self.component == Component::Seaweedfs
            && let Ok(state) = stack.state()
        {
            seaweedfs::remove_sockets(&state);
        }
        self.failures = 0;
        self.backoff = FIRST_BACKOFF;
        self.not_before = None;
    }

    pub(super) fn report(&self) -> Option<(Component, Report)> {
        (!self.generation.is_empty()).then(|| {
            let report = Report {
                process: self.process,
                generation: self.generation.clone(),
                ready: self.ready,
                failures: self.failures,
                last_failure: self.last_failure.clone(),
            };
            (self.component, report)
        })
    }

    fn fail(&mut self, failure: String) {
        if self.started.elapsed() > STEADY {
            self.backoff = FIRST_BACKOFF;
        }
        note(format!(
            "{} failed ({failure}), next try in {} ms",
            self.component.name(),
            self.backoff.as_millis()
        ));
        self.failures += 1;
        self.last_failure = Some(failure);
        self.not_before = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
    }
}

fn spawn(component: Component, stack: &Stack, state: &State) -> Result<Child> {
    let log = stack.log_file(component.name());
    rotate(&log);
    let file = fs::OpenOptions::new().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("failed to open {}", log.display()))?;
    let mut command = component.command(stack, state)?;
    command.env(process::MARK, state.marker(component));
    // A group of its own, so that all of it can be killed.
    command.process_group(0).stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("failed to run {}", command.get_program().to_string_lossy()))
}

fn rotate(log: &Path) {
    if fs::metadata(log).is_ok_and(|metadata| metadata.len() > LONGEST_LOG_BYTES) {
        let _ = fs::rename(log, log.with_extension("log.1"));
    }
}

fn report_error(result: Result<()>) {
    if let Err(error) = result {
        note(format!("warning: {error:#}"));
    }
}
