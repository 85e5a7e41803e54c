//! The background process that runs a stack's components, restarts those that exit and stops them in order.
//!
//! It is told what to do by a file, `wanted.json`, and says what it does in another, `running.json`. A lock it
//! holds says that it lives. So commands and supervisor need no connection, and either may be killed at any
//! moment: whatever a killed supervisor left running is found by its marker and ended by the next one.

mod child;
pub(crate) mod files;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use rustix::process::Signal;

use self::child::Supervised;
use self::files::{Running, Wanted};
use crate::interrupt::Interrupt;
use crate::process::{self, ProcessId};
use crate::progress;
use crate::stack::files::Lock;
use crate::stack::{Component, Stack, files as stack_files};
use crate::workspace;

const TICK: Duration = Duration::from_millis(100);
/// How long a left-over process may take to end.
const LEFT_OVER_GRACE: Duration = Duration::from_secs(4);

/// Starts a supervisor of `stack` in the background. With an `owner` it ends the stack when that process does.
pub(crate) fn spawn(stack: &Stack, owner: Option<u32>) -> Result<()> {
    let log = stack.log_file("supervisor");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
    let mut command = Command::new(workspace::own_program());
    command.arg0("xtask").arg("supervise").arg("--dir").arg(stack.dir());
    if let Some(pid) = owner {
        command.arg("--owner").arg(pid.to_string());
    }
    command.current_dir(stack.dir()).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.spawn().context("failed to start the supervisor")?;
    Ok(())
}

/// The body of the hidden subcommand `supervise`.
pub(crate) fn run(dir: &Path, owner: Option<u32>, interrupt: &Interrupt) -> Result<()> {
    // A session of its own: the terminal's Ctrl-C and hang-up are not for us. Fails only where we lead one.
    let _ = rustix::process::setsid();
    let stack = Stack::find(dir)?.with_context(|| format!("there is no stack in {}", dir.display()))?;
    let owner = match owner {
        Some(pid) => Some(ProcessId::of(pid).with_context(|| format!("owner {pid} is gone"))?),
        None => None,
    };
    let lock_path = stack.supervisor_lock();
    let Ok(lock) = Lock::take(&lock_path, Duration::from_secs(3), interrupt) else {
        bail!("another supervisor runs this stack");
    };
    progress::note(format!("supervisor {} of {}", std::process::id(), stack.dir().display()));
    sweep(&stack, Component::value_variants())?;

    let mut supervisor = Supervisor::new(stack)?;
    let outcome = supervisor.watch(|| {
        if interrupt.is_set() {
            Some("a signal asked for it")
        } else if owner.is_some_and(|owner| !owner.is_alive()) {
            Some("the process that this stack was for has ended")
        } else {
            // Deleted by hand; a stack that is made in its place has a supervisor of its own.
            (!lock.is_of(&lock_path)).then_some("the stack's folder was deleted")
        }
    });
    progress::note(match &outcome {
        Ok(reason) => format!("stopping: {reason}"),
        Err(error) => format!("stopping: {error:#}"),
    });
    supervisor.stop_all();
    outcome.map(drop)
}

/// Ends processes of `components` that no supervisor watches: an earlier one left them behind. Returns false when
/// there are none.
pub(crate) fn sweep(stack: &Stack, components: &[Component]) -> Result<bool> {
    let state = stack.state()?;
    let left: Vec<(ProcessId, Signal)> = components
        .iter()
        .flat_map(|it| {
            process::marked(&state.marker(*it)).into_iter().map(|process| (process, it.stop_signal()))
        })
        .collect();
    end(stack, &left)
}

/// The same for a stack whose id is not known: ends the components that work in its folder.
pub(crate) fn sweep_folder(stack: &Stack) -> Result<bool> {
    // Right inside the folder lie stacks of their own.
    let processes =
        process::working_in(|folder| folder == stack.dir() || folder.starts_with(stack.dir().join("data")));
    let left: Vec<(ProcessId, Signal)> =
        processes.into_iter().map(|process| (process, Signal::TERM)).collect();
    end(stack, &left)
}

fn end(stack: &Stack, left: &[(ProcessId, Signal)]) -> Result<bool> {
    if !left.is_empty() {
        let pids: Vec<String> = left.iter().map(|(process, _)| process.pid.to_string()).collect();
        progress::note(format!(
            "ending left-over processes of {}: {}",
            stack.dir().display(),
            pids.join(" ")
        ));
        process::end(left, LEFT_OVER_GRACE)?;
    }
    Ok(!left.is_empty())
}

struct Supervisor {
    stack: Stack,
    children: Vec<Supervised>,
    published: Option<Running>,
    warned: bool,
}

impl Supervisor {
    fn new(stack: Stack) -> Result<Self> {
        let children =
            Component::value_variants().iter().map(|component| Supervised::new(*component)).collect();
        let mut supervisor = Self { stack, children, published: None, warned: false };
        supervisor.publish()?;
        Ok(supervisor)
    }

    /// Makes what runs equal to what is wanted, until there is a reason to end, which is returned.
    fn watch(&mut self, end: impl Fn() -> Option<&'static str>) -> Result<&'static str> {
        loop {
            if let Some(reason) = end() {
                return Ok(reason);
            }
            let wanted = Wanted::read(&self.stack)?;
            let unwanted = self.positions(|child| child.is_running() && wanted.rejects(child));
            self.stop(&unwanted);
            for index in 0..self.children.len() {
                let child = &mut self.children[index];
                child.reap(&self.stack);
                let Some(generation) = wanted.generation(child.component()) else { continue };
                if child.is_due() {
                    child.start(&self.stack, generation);
                }
                child.check_ready(&self.stack);
            }
            self.publish_if_possible();
            progress::pause(TICK);
        }
    }

    /// Services first, then the servers they use, the port mapper last.
    fn stop_all(&mut self) {
        let stages: [&[Component]; 3] = [
            &Component::SERVICES,
            &[Component::Rabbitmq, Component::Seaweedfs, Component::Postgres],
            &[Component::Epmd],
        ];
        for stage in stages {
            let members = self.positions(|child| child.is_running() && stage.contains(&child.component()));
            self.stop(&members);
        }
        let _ = std::fs::remove_file(self.stack.running_file());
    }

    /// Asks the children at `positions` to end, all at once, and kills those that do not in time.
    fn stop(&mut self, positions: &[usize]) {
        for index in positions {
            self.children[*index].ask_to_stop();
        }
        let started = Instant::now();
        let mut left = positions.to_vec();
        while !left.is_empty() {
            left.retain(|index| {
                let child = &mut self.children[*index];
                if started.elapsed() > child.component().grace() {
                    child.kill();
                }
                child.reap(&self.stack);
                child.is_running()
            });
            progress::pause(Duration::from_millis(20));
        }
        for index in positions {
            self.children[*index].settle(&self.stack);
        }
    }

    fn positions(&self, matches: impl Fn(&Supervised) -> bool) -> Vec<usize> {
        let all = self.children.iter().enumerate();
        all.filter(|(_, child)| matches(child)).map(|(index, _)| index).collect()
    }

    /// A full disk, say, is no reason to stop what runs. Says so once, and tries again at every tick.
    fn publish_if_possible(&mut self) {
        match self.publish() {
            Ok(()) if self.warned => {
                self.warned = false;
                progress::note("commands see again what runs");
            }
            Err(error) if !self.warned => {
                self.warned = true;
                progress::note(format!("warning: commands do not see what runs, which goes on: {error:#}"));
            }
            _ => {}
        }
    }

    fn publish(&mut self) -> Result<()> {
        let me = ProcessId::of(std::process::id()).context("/proc does not show this process")?;
        let components = self.children.iter().filter_map(Supervised::report).collect();
        let running = Running { supervisor: me, components };
        if self.published.as_ref() != Some(&running) {
            stack_files::write_json(&self.stack.running_file(), &running)?;
            self.published = Some(running);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::stack::Lifetime;

    #[test]
    fn supervisor_goes_on_while_it_cannot_write_and_catches_up() {
        let dir = tempfile::tempdir().unwrap();
        let stack = Stack::create(dir.path(), Lifetime::Throwaway).unwrap();
        let file = stack.running_file();
        let mut supervisor = Supervisor::new(stack).unwrap();
        // A folder in the file's place cannot be replaced by a file.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        supervisor.published = None;
        let ticks = std::cell::Cell::new(0);
        supervisor.watch(|| (ticks.replace(ticks.get() + 1) == 3).then_some("enough")).unwrap();
        assert!(supervisor.warned);

        fs::remove_dir(&file).unwrap();
        supervisor.publish_if_possible();
        assert!(!supervisor.warned);
        assert!(Running::read(&supervisor.stack).unwrap().is_some());
    }
}
