//! `cargo xtask status`.

use anyhow::Result;
use clap::ValueEnum as _;

use crate::progress::print;
use crate::stack::{Component, Stack, State, lifecycle};
use crate::supervisor::files::{Report, Running};
use crate::workspace;

/// Runs the subcommand.
pub(crate) fn run() -> Result<()> {
    let Some(stack) = Stack::find(&workspace::stack_dir()?)? else {
        return print("there is no stack: `cargo xtask up` makes one");
    };
    if !lifecycle::is_supervised(&stack)? {
        if lifecycle::has_left_overs(&stack)? {
            print("processes of a run that was killed are left: `cargo xtask down` ends them")?;
        }
        let dir = stack.dir().display();
        return print(format!("the stack in {dir} does not run: `cargo xtask up` starts it"));
    }
    let state = stack.state()?;
    let running = Running::read(&stack)?;
    print(format!("{:<11} {:<9} {:>8} {:>6} {:>8}  log", "", "state", "process", "port", "restarts"))?;
    for component in Component::value_variants() {
        let report = running.as_ref().and_then(|running| running.components.get(component));
        let pid = report.and_then(|report| report.process).map(|process| process.pid.to_string());
        let port = component.ports().first().map_or(0, |port| state.port(*port));
        print(format!(
            "{:<11} {:<9} {:>8} {:>6} {:>8}  {}",
            component.name(),
            word(*component, report, &state),
            pid.unwrap_or_else(|| "-".to_owned()),
            port,
            report.map_or(0, |report| report.failures),
            stack.log_file(component.name()).display()
        ))?;
    }
    Ok(())
}

fn word(component: Component, report: Option<&Report>, state: &State) -> &'static str {
    match report {
        Some(Report { process: Some(_), ready: true, .. }) if component.is_ready(state) => "ready",
        Some(Report { process: Some(_), ready: true, .. }) => "not ready",
        Some(Report { process: Some(_), .. }) => "starting",
        Some(Report { last_failure: Some(_), .. }) => "failing",
        _ => "stopped",
    }
}
