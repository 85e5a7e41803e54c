//! Starting and stopping a stack's components, from a command's point of view.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum as _;
use rustix::process::Signal;

use super::{Component, Stack, files, postgres, services};
use crate::interrupt::Interrupt;
use crate::process;
use crate::programs::WEED;
use crate::programs::apt::{self, Package};
use crate::progress::Step;
use crate::supervisor::{
    self,
    files::{Report, Running, Wanted},
};

/// How often a component may exit before it has served at all.
const MOST_FAILURES: u32 = 5;
/// How long a supervisor may take to say that it is there.
const SUPERVISOR_START: Duration = Duration::from_secs(15);

/// Installs what `components` need from the machine. Must come before the first stack is made: Postgres'
/// package brings the user that the data will belong to.
pub(crate) fn install(log_dir: &Path, components: &[Component], interrupt: &Interrupt) -> Result<()> {
    files::create_dir(log_dir)?;
    let log = log_dir.join("install.log");
    let mut packages = Vec::new();
    if components.contains(&Component::Postgres) {
        packages.push(Package::Postgresql);
    }
    if components.contains(&Component::Rabbitmq) {
        packages.push(Package::Rabbitmq);
    }
    apt::ensure(&packages, &log, interrupt)?;
    if components.contains(&Component::Seaweedfs) {
        WEED.ensure(&log, interrupt)?;
    }
    Ok(())
}

/// Starts those of `components` that do not run, and replaces services whose binary has changed. Returns those
/// that were not ready before. With an `owner`, the stack ends when that process does.
pub(crate) fn start(
    stack: &Stack,
    components: &[Component],
    owner: Option<u32>,
    interrupt: &Interrupt,
) -> Result<Vec<Component>> {
    let components = Component::with_needs(components);
    let state = stack.state()?;
    if components.contains(&Component::Postgres) {
        let exists = state.postgres_dir.join("cluster").exists();
        let step = (!exists).then(|| Step::begin("creating the database cluster"));
        postgres::prepare(stack, &state, interrupt)?;
        if let Some(step) = step {
            step.done("created the database cluster");
        }
    }
    let supervised = is_supervised(stack)?;
    let mut wanted = if supervised { Wanted::read(stack)? } else { Wanted::default() };
    for component in &components {
        let generation = if Component::SERVICES.contains(component) {
            services::generation(*component, &state)?
        } else {
            "1".to_owned()
        };
        wanted.add(*component, generation);
    }
    let fresh: Vec<Component> = components.iter().copied().filter(|it| !is_up(stack, &wanted, *it)).collect();
    wanted.write(stack)?;
    if !supervised {
        supervisor::spawn(stack, owner)?;
    }
    for component in components {
        if fresh.contains(&component) {
            let step = Step::begin(format!("starting {}", component.name()));
            wait_until_ready(stack, &wanted, component, interrupt, step)?;
        }
    }
    Ok(fresh)
}

/// Stops `components` and waits until they have ended. The others, and the supervisor, go on.
pub(crate) fn stop(stack: &Stack, components: &[Component], interrupt: &Interrupt) -> Result<()> {
    let mut wanted = Wanted::read(stack)?;
    for component in components {
        wanted.remove(*component);
    }
    wanted.write(stack)?;
    for component in components {
        let mut step = Step::begin(format!("stopping {}", component.name()));
        step.wait(component.grace() + Duration::from_secs(30), interrupt, || {
            let report = report(stack, *component)?;
            Ok(report.is_none_or(|report| report.process.is_none()).then_some(()))
        })?;
        step.done(format!("stopped {}", component.name()));
    }
    Ok(())
}

/// Ends all of the stack: the supervisor stops its components, and what is left without a supervisor is ended
/// too. Returns false when nothing ran.
pub(crate) fn shut_down(stack: &Stack) -> Result<bool> {
    let mut ran = false;
    Wanted::forget(stack)?;
    if is_supervised(stack)? {
        ran = true;
        let mut step = Step::begin("stopping services, broker, store and database");
        // Being interrupted while stopping changes nothing: stopping is what was asked for.
        let limit = Duration::from_secs(120);
        let mut asked = false;
        step.wait(limit, &Interrupt::default(), || {
            // A supervisor whose file cannot be read writes it anew when its components have ended.
            if !asked && let Ok(Some(running)) = Running::read(stack) {
                running.supervisor.signal(Signal::TERM)?;
                asked = true;
            }
            Ok((!is_supervised(stack)?).then_some(()))
        })?;
        step.done(format!("stopped all of {}", stack.dir().display()));
    }
    files::remove_file(&stack.running_file())?;
    let swept = if stack.state().is_ok() {
        supervisor::sweep(stack, Component::value_variants())?
    } else {
        supervisor::sweep_folder(stack)?
    };
    Ok(ran || swept)
}

/// The components that a supervisor runs, or is about to; none without one.
pub(crate) fn supervised(stack: &Stack) -> Result<Vec<Component>> {
    let wanted = if is_supervised(stack)? { Wanted::read(stack)? } else { Wanted::default() };
    let all = Component::value_variants().iter().copied();
    Ok(all.filter(|component| wanted.generation(*component).is_some()).collect())
}

/// True while processes of this stack run, supervised or not.
pub(crate) fn has_left_overs(stack: &Stack) -> Result<bool> {
    Ok(!process::marked(&stack.state()?.id).is_empty())
}

/// True while a supervisor runs this stack.
pub(crate) fn is_supervised(stack: &Stack) -> Result<bool> {
    files::Lock::is_taken(&stack.supervisor_lock())
}

/// What the supervisor says of `component`.
pub(crate) fn report(stack: &Stack, component: Component) -> Result<Option<Report>> {
    Ok(Running::read(stack)?.and_then(|mut running| running.components.remove(&component)))
}

/// True when `component` serves, in the generation that is wanted.
fn is_up(stack: &Stack, wanted: &Wanted, component: Component) -> bool {
    let Ok(Some(report)) = report(stack, component) else { return false };
    report.ready && wanted.generation(component) == Some(&report.generation)
}

fn wait_until_ready(
    stack: &Stack,
    wanted: &Wanted,
    component: Component,
    interrupt: &Interrupt,
    mut step: Step,
) -> Result<()> {
    let name = component.name();
    // The log that says more than the error.
    let mut log = Some(stack.log_file(name));
    let started = Instant::now();
    let mut was_supervised = false;
    let outcome = step.wait(component.patience(), interrupt, || {
        if is_up(stack, wanted, component) {
            return Ok(Some(()));
        }
        if let Some(report) = report(stack, component)?
            && report.failures >= MOST_FAILURES
        {
            if report.process.is_none()
                && let Some(port) = stack.state()?.taken_port(component)
            {
                log = None;
                bail!("port {port} of {name} is taken: `cargo xtask down`, then `up`, picks another");
            }
            bail!("{name} does not stay up: {}", report.last_failure.unwrap_or_default());
        }
        if is_supervised(stack)? {
            was_supervised = true;
        } else if was_supervised || started.elapsed() > SUPERVISOR_START {
            log = Some(stack.log_file("supervisor"));
            bail!(
                "the supervisor of {} {}",
                stack.dir().display(),
                if was_supervised { "ended" } else { "does not run" }
            );
        }
        Ok(None)
    });
    if outcome.is_err() && report(stack, component)?.is_none() {
        // It was not even tried to start: why, the supervisor knows.
        log = Some(stack.log_file("supervisor"));
    }
    interrupt.check()?;
    if let Err(error) = outcome {
        let Some(log) = log else { return Err(error) };
        let lines = files::last_lines(&log, 20);
        bail!("{error:#}\n--- the end of {} ---\n{lines}", log.display());
    }
    step.done(format!("{name} is ready"));
    Ok(())
}
