//! Processes as the kernel knows them.
//!
//! A process id alone is reused; together with the start time from `/proc/PID/stat` it names one process for
//! as long as the machine is up. Nothing in this program is ever ended by its name.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::progress;

/// The variable whose value names a component's stack and the component.
pub(crate) const MARK: &str = "DARKROOM_COMPONENT";
/// The same as a setting of Postgres.
pub(crate) const POSTGRES_MARK: &str = "darkroom.component";

/// One process: its id and when it started, in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// The kernel's process id.
    pub(crate) pid: u32,
    /// Field 22 of `/proc/PID/stat`.
    pub(crate) started: u64,
}

impl ProcessId {
    /// The process that has `pid` now, unless there is none or it is a zombie.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&stat).map(|started| Self { pid, started })
    }

    /// True while this very process runs.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends `signal`, if this very process still runs. A process that is gone is no error.
    pub(crate) fn signal(self, signal: Signal) -> Result<()> {
        if self.is_alive() {
            send(self.pid, signal)?;
        }
        Ok(())
    }
}

/// Sends `signal` to the child `pid`, which its parent, the caller, has not reaped yet.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    ignore_gone(rustix::process::kill_process(as_pid(pid)?, signal))
        .with_context(|| format!("failed to signal process {pid}"))
}

/// Sends `signal` to the process group led by `pid`.
pub(crate) fn send_group(pid: u32, signal: Signal) -> Result<()> {
    ignore_gone(rustix::process::kill_process_group(as_pid(pid)?, signal))
        .with_context(|| format!("failed to signal process group {pid}"))
}

/// The processes whose environment or arguments hold `NAME=marker`, or `marker` followed by `/…` where it
/// ends in no component of its own.
///
/// The marker is a random id, so it finds what an earlier run left behind, however that run ended.
pub(crate) fn marked(marker: &str) -> Vec<ProcessId> {
    all(|pid| bears(pid, |_, value| is_of(value, marker)))
}

/// The components of any stack whose working directory `matches`.
pub(crate) fn working_in(matches: impl Fn(&Path) -> bool) -> Vec<ProcessId> {
    all(|pid| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| matches(&folder))
            && bears(pid, |name, _| [MARK, POSTGRES_MARK].contains(&name))
    })
}

fn all(matches: impl Fn(u32) -> bool) -> Vec<ProcessId> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && matches(*pid))
        .filter_map(ProcessId::of)
        .collect()
}

/// Ends `processes`: each by its own signal first, what is left after `grace` by SIGKILL.
pub(crate) fn end(processes: &[(ProcessId, Signal)], grace: Duration) -> Result<()> {
    for (last, patience) in [(None, grace), (Some(Signal::KILL), Duration::from_secs(5))] {
        for (process, gentle) in processes {
            process.signal(last.unwrap_or(*gentle))?;
        }
        let started = Instant::now();
        while processes.iter().any(|(process, _)| process.is_alive()) && started.elapsed() < patience {
            progress::pause(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn as_pid(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is no process id"))
}

fn ignore_gone(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::SRCH) => Ok(()),
        other => other,
    }
}

/// True when an entry `NAME=value` of the process `matches`. Postgres overwrites its environment's memory, so the
/// arguments are read as well. What may not be read belongs to somebody else.
fn bears(pid: u32, matches: impl Fn(&str, &str) -> bool) -> bool {
    ["environ", "cmdline"].iter().any(|file| {
        fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| {
            bytes.split(|byte| *byte == 0).any(|entry| {
                String::from_utf8_lossy(entry)
                    .split_once('=')
                    .is_some_and(|(name, value)| matches(name, value))
            })
        })
    })
}

fn is_of(value: &str, marker: &str) -> bool {
    value.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The start time of a process that is no zombie. Its name may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn start_time_is_read_past_a_name_with_parentheses() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(stat), Some(4711));
    }

    #[test]
    fn zombie_is_not_alive() {
        assert_eq!(parse_stat("42 (a) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711"), None);
    }

    #[test]
    fn marker_names_whole_components_only() {
        assert!(is_of("abc/epmd", "abc"));
        assert!(is_of("abc/epmd", "abc/epmd"));
        assert!(!is_of("abc/epmd2", "abc/epmd"));
        assert!(!is_of("abcd/epmd", "abc"));
    }

    #[test]
    fn component_is_found_by_the_folder_it_works_in() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("60").current_dir(&dir).stdin(Stdio::null());
        let mut stranger = sleep.spawn().unwrap();
        let mut component = sleep.env(MARK, "id/epmd").spawn().unwrap();
        let limit = Instant::now() + Duration::from_secs(10);
        let mut found = Vec::new();
        while found.is_empty() && Instant::now() < limit {
            progress::pause(Duration::from_millis(5));
            found = working_in(|folder| folder == dir);
        }
        for child in [&mut stranger, &mut component] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [component.id()]);
    }

    #[test]
    fn marked_process_is_found_and_ended_and_its_reused_id_is_not() {
        let marker = format!("test-{}", std::process::id());
        let mut child =
            Command::new("sleep").arg("60").env(MARK, &marker).stdin(Stdio::null()).spawn().unwrap();
        // Until it has replaced itself by `sleep`, the child shows the test's own environment.
        let limit = Instant::now() + Duration::from_secs(10);
        let mut found = marked(&marker);
        while found.is_empty() && Instant::now() < limit {
            progress::pause(Duration::from_millis(5));
            found = marked(&marker);
        }
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [child.id()]);

        let other = ProcessId { started: found[0].started + 1, ..found[0] };
        other.signal(Signal::KILL).unwrap();
        assert!(found[0].is_alive());

        end(&[(found[0], Signal::TERM)], Duration::from_secs(10)).unwrap();
        assert!(!found[0].is_alive());
        child.wait().unwrap();
    }
}
